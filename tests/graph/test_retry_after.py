"""Retry-After: seconds or a date, bounded."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.graph.retry_after import LONGEST, seconds

NOW = datetime(2026, 6, 30, 2, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120), (" 5 ", 5), ("0", 0), ("-1", 0), ("1.5", 0), ("soon", 0), ("", 0), ("9" * 40, LONGEST),
        ("Tue, 30 Jun 2026 02:01:00 GMT", 60), ("Tue, 30 Jun 2026 01:00:00 GMT", 0), ("Tue, 30 Jun 2099 01:00:00 GMT", LONGEST),
    ],
)  # fmt: skip
def test_values(value: str, expected: float) -> None:
    """RFC 9110 10.2.3."""
    assert seconds({"retry-after": value}, NOW) == expected


@given(st.text(max_size=30))
def test_any_value_is_a_bounded_wait(value: str) -> None:
    """Never negative, never for ever."""
    assert 0 <= seconds({"retry-after": value}) <= LONGEST
