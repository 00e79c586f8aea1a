"""What the watch can see of this host without the queue runner: each trouble a sentence, by a key that stays the same while it
lasts.

Clocks may be wrong and are set; so what has lasted how long is measured since boot, by what was seen one minute after the other.
"""

import os
import time
from typing import Any, NamedTuple

from proxmox_graph_mail import files, paths
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.log import duration
from proxmox_graph_mail.proxmox import facts
from proxmox_graph_mail.spool import condition, digests, suspended
from proxmox_graph_mail.spool.ledger import FRESH, Ledger
from proxmox_graph_mail.spool.store import FARTHEST, Spool
from proxmox_graph_mail.watch import units
from proxmox_graph_mail.watch.alarm import RUNNER_S_OWN, STUCK

_OURS = b"proxmox-graph-mail"


class Settled(NamedTuple):
    """What tells that mail is settled: when the record of outcomes was last written, as it was seen; since when (seconds since
    boot) it has been the same though something is due (0: nothing is)."""

    record: float = 0.0
    since: float = 0.0


def seen(before: Settled, now: float, patience: float) -> tuple[dict[str, str], Settled]:
    """Key → trouble, and what the next look must know. `now` is in seconds since boot."""
    spool = Spool()
    found = {f"spool {kind}": fault for kind, fault in condition.faults(spool).items()}
    found |= units.troubles(units.known(hand_over=bool(facts.known().forward_program)))
    if text := _foreign_sendmail():
        found["sendmail"] = text
    if units.installed() and not os.path.isdir(paths.run()):
        found["run"] = f"{paths.run()} is missing, so only root can submit mail; {condition.RUN_REMEDY}"
    own = _runner_s_alarm()
    if own:
        found[RUNNER_S_OWN] = own
    settled = _settled(spool, before, now)
    if settled.since and now - settled.since >= patience and not found:  # else that is why
        error = units.last_error(units.RUNNER)
        reason = f" ({error})" if error else ""
        found[STUCK] = (
            f"mail is waiting, but nothing has been sent or deferred for {duration(now - settled.since)}{reason}; "
            f"systemctl status {units.RUNNER} and journalctl -u {units.RUNNER} say more"
        )
    return found, settled


def _settled(spool: Spool, before: Settled, now: float) -> Settled:
    record, wall = _last_record(), time.time()
    waits = suspended.read(spool)
    # Farther ahead than any wait, a wrong clock wrote it.
    ledger = Ledger(spool.root)
    alive = abs(wall - ledger.waited) < FRESH  # a queue runner that stands still no longer says why mail waits
    limits = [until for until, _ in ledger.waits.values()] if alive else []  # of the mailbox, or a user, in 24 hours
    if not _something_due(spool) or any(
        wall < until <= wall + FARTHEST for until in (*limits, waits.until if waits.state else 0.0)
    ):
        return Settled(record, 0.0)
    return Settled(record, before.since if before.since and record == before.record else now)


def _something_due(spool: Spool) -> bool:
    """Is there a message whose time has come? (One that came a moment ago is settled before the patience is over.)"""
    now = time.time()
    try:
        due = {entry.id for entry in spool.entries() if entry.due <= now}
        return bool(due) and bool(due - digests.waiting(spool).keys())
    except SpoolError:
        return False  # a fault of the spool, and said as such


def _last_record() -> float:
    """When the queue runner last wrote down an outcome."""
    try:
        with os.scandir(paths.state()) as entries:
            return max((e.stat(follow_symlinks=False).st_mtime for e in entries if e.name.startswith("outcomes")), default=0.0)
    except OSError:
        return 0.0


def _runner_s_alarm() -> str:
    raised: dict[str, Any] = files.read_json(f"{paths.state()}/alarm.json")
    return str(raised.get("reason", "")) if raised.get("raised") else ""


def _foreign_sendmail() -> str:
    """Is /usr/sbin/sendmail somebody else's?"""
    if not units.installed():
        return ""
    try:
        # The link of an alternatives system is followed; pip's program names the module.
        if _OURS in files.read_beginning(os.path.realpath(paths.SENDMAIL), 400).replace(b"_", b"-"):
            return ""
        reason = "is not this program's"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    return f"{paths.SENDMAIL} {reason}, so this host's mail goes elsewhere; apt install --reinstall proxmox-graph-mail"
