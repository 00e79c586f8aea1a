"""What the tenant was found not to permit, remembered over restarts.

    STATE/permissions.json   0600, replaced atomically: permission → when Graph refused it, for one credential and mailbox

That an app lacks Mail.ReadWrite, or Mail.ReadBasic, is learnt from one refusal; each mail would meet it again. It is forgotten
when the settings or the credential change, when an admin says that something was mended, and after a day: an admin who
grants a permission need not say so.
"""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from proxmox_graph_mail import files

MEMORY = 86400.0  # seconds after which it is asked again
MAIL_READ_WRITE = "Mail.ReadWrite"
MAIL_READ_BASIC = "Mail.ReadBasic"


class Permissions:
    """Refused permissions of a credential and a mailbox (`key`), in a state directory; None: in this process alone."""

    def __init__(self, state: Path | None, key: str, clock: Callable[[], float] = time.time) -> None:
        self._path = state / "permissions.json" if state else None
        self._key = key
        self._clock = clock
        self._refused = self._read()

    def refused(self, permission: str) -> bool:
        """Was it refused within the last day?"""
        return 0 <= self._clock() - self._refused.get(permission, float("-inf")) < MEMORY

    def refuse(self, permission: str) -> None:
        """Remember that Graph refused it."""
        self._refused[permission] = self._clock()
        self._write()

    def forget(self) -> None:
        """Ask again."""
        if self._refused:
            self._refused = {}
            self._write()

    def _read(self) -> dict[str, float]:
        known = files.read_json(self._path) if self._path else {}
        refused = known.get("refused") if known.get("key") == self._key else None
        entries = refused.items() if isinstance(refused, dict) else ()
        return {str(name): when for name, when in entries if isinstance(when, int | float)}

    def _write(self) -> None:
        if self._path is None:
            return
        text = json.dumps({"key": self._key, "refused": self._refused})
        with contextlib.suppress(OSError):  # it is known for this run, and learnt anew by the next
            files.replace(str(self._path), text.encode())
