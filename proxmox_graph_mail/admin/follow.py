"""Watching one mail on its way: for `test`, `target test` and `setup`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxmox_graph_mail import paths
from proxmox_graph_mail.admin.screen import put
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE
from proxmox_graph_mail.spool import suspended
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.watch import Watch

PATIENCE = 60.0  # seconds to wait for an outcome; an attempt gives its reason within 30
LOOK_AGAIN = 1.0  # seconds after which to look although nothing was heard
GRACE = 3.0  # seconds after which a suspension from before the mail is believed


class Leg:
    """The time since the beginning, told at each leg of the way."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def passed(self, what: str) -> float:
        """Print what has been reached, and the seconds it took since the beginning."""
        seconds = time.monotonic() - self._begun
        put(what, begin=f"{seconds:6.2f} s  ")
        return seconds


def follow(*, since: float, leg: Leg, matching: Callable[[dict[str, Any]], bool], patience: float = PATIENCE) -> int:
    """Wait for the outcome of a mail that was submitted after `since` and that `matching` knows by its record; print it, and
    return the status of sysexits.h."""
    spool, record = Spool(), Record(Path(paths.state()))
    end = time.monotonic() + patience
    watch = Watch(spool.queue)
    said = ""
    try:
        while True:
            outcome = next((row for row in reversed(record.read()) if row["arrived"] >= since - 0.001 and matching(row)), None)
            if outcome is not None and outcome["state"] in ("sent", "failed"):
                return _told(outcome, leg)
            state, reason = (outcome["state"], outcome["reason"]) if outcome else _suspended(spool, since)
            if state:
                if (told := f"{state}: {reason}") != said:
                    leg.passed(told)
                    said = told
                if state == "held":
                    put("It is kept, and sent once that is fixed. To find the cause: proxmox-graph-mail check")
                    return EX_TEMPFAIL
            if (left := end - time.monotonic()) <= 0:
                break
            watch.wait(min(left, LOOK_AGAIN))
    finally:
        watch.close()
    waiting = "It is still being tried" if said else "No such mail reached the queue, or the queue runner is not sending"
    put(f"{waiting}; look at mailq, and at journalctl -t proxmox-graph-mail/runner.")
    return EX_TEMPFAIL


def _suspended(spool: Spool, since: float) -> tuple[str, str]:
    """Why the whole queue waits, so that this mail is not even tried; empty if it does not. A suspension from before is believed
    a moment later: what it was for may just have been mended, and the queue runner is looking."""
    waits = suspended.read(spool)
    now = time.time()
    return (waits.state, waits.reason) if waits.covers(since, now) and (waits.time >= since or now - since > GRACE) else ("", "")


def _told(outcome: dict[str, Any], leg: Leg) -> int:
    people = ", ".join(outcome["to"][:5])
    detail = f" ({outcome['reason']})" if outcome["reason"] else ""
    if outcome["state"] == "failed":
        leg.passed(f"{outcome['id']} failed{detail}")
        put(f"It is kept: proxmox-graph-mail queue show {outcome['id']}")
        return EX_UNAVAILABLE
    request_id = f", request-id {outcome['request_id']}" if outcome["request_id"] else ""
    leg.passed(
        f"{outcome['id']} arrived at Graph {outcome['delay']:.2f} s after it was submitted, for {people}{detail}{request_id}"
    )
    return EX_OK
