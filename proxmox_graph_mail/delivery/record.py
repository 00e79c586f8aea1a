"""The record of outcomes: what became of the mail of the last weeks, for `status`, `log` and `test`.

    STATE/outcomes.jsonl, outcomes.1.jsonl   a line of JSON an outcome, 0600; the second is the older half

Addresses and subjects, no bodies. Bounded: at LIMIT the file becomes the older half, and what was that is gone. Advisory:
what cannot be written is lost, and costs no mail.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from proxmox_graph_mail.files import open_plain, read_plain

LIMIT = 2 << 20  # bytes of the newer half; some 6,000 outcomes
SHOWN_RECIPIENTS = 20
SUBJECT_LIMIT = 200
_FIELDS: dict[str, Any] = {
    "time": 0.0, "id": "", "state": "", "arrived": 0.0, "to": [], "recipients": 0, "subject": "", "size": 0, "uid": -1,
    "attempts": 0, "delay": 0.0, "reason": "", "code": "", "request_id": "", "uncertain": False, "throttled": False,
    "relay": "",
}  # fmt: skip
"""The fields of an outcome, and what they are where it has none. `time` and `arrived` are seconds since the epoch."""


class Record:
    """The outcomes in a state directory."""

    def __init__(self, state: Path) -> None:
        self._path = state / "outcomes.jsonl"
        self._older = state / "outcomes.1.jsonl"

    def add(self, **outcome: Any) -> None:
        """Append an outcome; `to` and `subject` are cut to what a reader needs."""
        to = list(outcome.get("to", ()))
        outcome |= {
            "to": to[:SHOWN_RECIPIENTS],
            "recipients": len(to),
            "subject": str(outcome.get("subject", ""))[:SUBJECT_LIMIT],
        }
        line = json.dumps(outcome, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            fd = open_plain(str(self._path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode=0o600)
            try:
                os.write(fd, line)
                full = os.fstat(fd).st_size >= LIMIT
            finally:
                os.close(fd)
            if full:
                self._path.rename(self._older)
        except OSError:
            pass  # a full or read-only disk: the journal has the line

    def read(self) -> list[dict[str, Any]]:
        """The outcomes, oldest first; a line torn by a crash, or of another shape, is left out. Raises PermissionError."""
        rows: list[dict[str, Any]] = []
        for path in (self._older, self._path):
            try:
                lines: Iterable[bytes] = read_plain(str(path), 2 * LIMIT).splitlines()
            except PermissionError:
                raise
            except OSError:
                continue  # there is none, or something else in its place
            for line in lines:
                try:
                    outcome = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(outcome, dict) and all(_fits(outcome.get(key, empty), empty) for key, empty in _FIELDS.items()):
                    rows.append(_FIELDS | outcome)
        return rows


def _fits(value: object, empty: object) -> bool:
    kinds = (int, float) if isinstance(empty, float) else type(empty)
    return isinstance(value, kinds)
