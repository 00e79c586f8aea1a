"""Retry-After (RFC 9110 10.2.3): seconds, or a date."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 3600.0  # seconds at most: a header that asks for more is somebody's mistake, and alarms must not wait for it


def seconds(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """How long the other side asks to wait; 0 where it does not say."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return min(float(value[:12]), LONGEST)
    try:
        wait = (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(wait, 0.0), LONGEST)
