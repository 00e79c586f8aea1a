"""What the tenant, or a proxy before it, was found not to permit, remembered over restarts.

    STATE/permissions.json   0600, replaced atomically, for one credential and mailbox: permission → when Graph refused it, and
                             how large a request may be, as far as a refusal told

That an app lacks Mail.ReadWrite, or Mail.ReadBasic, or that a proxy takes requests of 1 MB at most, is learnt from one refusal;
each mail would meet it again. It is forgotten when the settings or the credential change, when an admin says that something was
mended, and after a day: an admin who grants a permission need not say so.
"""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from proxmox_graph_mail import files

REQUEST_LIMIT = 4_000_000  # bytes of a request that Graph takes: 4 MB (large messages go another way)
STEPS = (2_000_000, 1_000_000, 500_000, 250_000, 120_000)
"""Bytes of a request: what is tried after one that was too large. Proxies and filters are known to take 1 MB, or 128 KiB."""
MEMORY = 86400.0  # seconds after which it is asked again
MAIL_READ_WRITE = "Mail.ReadWrite"
MAIL_READ_BASIC = "Mail.ReadBasic"

_NOT_MET = (REQUEST_LIMIT, float("-inf"))


class Permissions:
    """Refused permissions of a credential and a mailbox (`key`), in a state directory; None: in this process alone."""

    def __init__(self, state: Path | None, key: str, clock: Callable[[], float] = time.time) -> None:
        self._path = state / "permissions.json" if state else None
        self._key = key
        self._clock = clock
        self._refused, self._met = self._read()

    def refused(self, permission: str) -> bool:
        """Was it refused within the last day?"""
        return 0 <= self._clock() - self._refused.get(permission, float("-inf")) < MEMORY

    def refuse(self, permission: str) -> None:
        """Remember that Graph refused it."""
        self._refused[permission] = self._clock()
        self._write()

    def request_limit(self) -> int:
        """Bytes that a request may have."""
        limit, when = self._met
        return limit if 0 <= self._clock() - when < MEMORY else REQUEST_LIMIT

    def too_large(self, size: int) -> None:
        """Remember that a request of so many bytes was too large."""
        smaller = next((step for step in STEPS if step < size), STEPS[-1])
        self._met = min(smaller, self.request_limit()), self._clock()
        self._write()

    def forget(self) -> None:
        """Ask again."""
        if self._refused or self._met != _NOT_MET:
            self._refused, self._met = {}, _NOT_MET
            self._write()

    def _read(self) -> tuple[dict[str, float], tuple[int, float]]:
        known = files.read_json(self._path) if self._path else {}
        if known.get("key") != self._key:
            return {}, _NOT_MET
        refused, met = known.get("refused"), known.get("too_large")
        entries = refused.items() if isinstance(refused, dict) else ()
        limit, when = met if isinstance(met, list) and len(met) == 2 else _NOT_MET
        return (
            {str(name): when for name, when in entries if isinstance(when, int | float)},
            (limit, when) if limit in STEPS and isinstance(when, int | float) else _NOT_MET,
        )

    def _write(self) -> None:
        if self._path is None:
            return
        text = json.dumps({"key": self._key, "refused": self._refused, "too_large": self._met})
        with contextlib.suppress(OSError):  # it is known for this run, and learnt anew by the next
            files.replace(str(self._path), text.encode())
