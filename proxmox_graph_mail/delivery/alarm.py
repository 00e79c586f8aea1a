"""The alarm: what is done for when mail itself is down.

    STATE/alarm.json   since when every message meets a refusal, its reason, and whether the alarm was given
    STATE/motd         what the login message shows while it lasts

Given once, after 15 minutes (paths.patience) of the tenant's refusals (a credential that ended, a consent that is gone), or an
hour without a line: a line of priority crit in the journal, the file (which the login message shows), and the admin's own
command. Over with the first mail that Graph takes: one line of all-clear. Both survive restarts.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from proxmox_graph_mail import files, log, paths
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.log import duration

NETWORK = 4  # times the patience without a connection, or of throttling: such things pass by themselves


class Alarm:
    """One host's. `tell` gives a text to the admin's command."""

    def __init__(self, state: Path, tell: Callable[[str], None]) -> None:
        self._path = state / "alarm.json"
        self._tell = tell
        self._now = files.read_json(self._path)
        self._met = False  # a refusal in this process: what an earlier one met may have passed while the host was off

    def refused(self, outcome: Outcome, now: float) -> None:
        """A message met what every other would meet too."""
        self._met = True
        since = self._now.get("since")
        if not isinstance(since, int | float) or since > now:
            since = now
        held = outcome.status is Status.HELD
        before = self._now
        self._now = before | {"since": since, "reason": outcome.reason, "held": held or bool(before.get("held"))}
        if self._now != before:  # each of a thousand messages meets it
            self._write()
        self.look(now)

    def idle(self) -> None:
        """Nothing waits any more, without Graph having taken it (an admin removed it): what was not yet an alarm is forgotten."""
        if self._now and not self._now.get("raised"):
            self._forget()

    def look(self, now: float) -> float | None:
        """Give the alarm if it is time; seconds until that may be, or None."""
        if not self._met or "since" not in self._now or self._now.get("raised"):
            return None
        left = float(self._now["since"]) + paths.patience() * (1 if self._now.get("held") else NETWORK) - now
        if left > 0:
            return left
        self._now["raised"] = now
        self._write()
        text = f"no mail has left this host for {duration(now - self._now['since'])}: {self._now['reason']}"
        log.line(f"ALARM: {text}", log.CRIT)
        self._run(f"{text}\n")
        return None

    def passed(self, now: float) -> None:
        """Graph took a message."""
        if not self._now:
            return
        if self._now.get("raised"):
            text = f"all clear: mail is leaving this host again, after {duration(now - self._now['since'])}"
            log.line(text, log.NOTICE)
            self._run(f"{text}\n")
        self._forget()

    def _forget(self) -> None:
        self._now = {}
        try:
            self._path.unlink(missing_ok=True)
            self._path.with_name("motd").unlink(missing_ok=True)
        except OSError as error:
            log.line(f"cannot remove {self._path}: {error.strerror}", log.WARNING)

    @property
    def text(self) -> str:
        """The alarm in words while it lasts; else empty."""
        if not self._now.get("raised"):
            return ""
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self._now["since"]))
        return f"ALARM: no mail has left this host since {since}: {self._now['reason']}"

    def _run(self, text: str) -> None:
        try:
            self._tell(text)
        except Exception as error:  # noqa: BLE001 - whatever the admin's command does, mail goes on
            log.line(f"ALARM_COMMAND failed: {type(error).__name__}", log.WARNING)

    def _write(self) -> None:
        try:
            files.replace(str(self._path), json.dumps(self._now).encode())
            if text := self.text:
                self._path.with_name("motd").write_text(f"{log.printable(text)}\nproxmox-graph-mail check says what to do.\n")
        except OSError as error:
            log.line(f"cannot write {self._path}: {error.strerror}", log.WARNING)


def raised(state: Path) -> str | None:
    """The reason of the alarm that was given and is not over; None without one."""
    now = files.read_json(state / "alarm.json")
    return str(now.get("reason")) if now.get("raised") else None
