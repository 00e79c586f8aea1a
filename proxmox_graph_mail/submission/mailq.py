"""mailq, sendmail -bp and `queue list`: the queue as a list, in Postfix's layout or as JSON."""

import calendar
import json
import os
import time

from proxmox_graph_mail import paths
from proxmox_graph_mail.errors import EX_IOERR, EX_OK, DataError, PrivilegeError, SpoolError
from proxmox_graph_mail.files import read_beginning
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.rfc822.header import header_of
from proxmox_graph_mail.spool import condition, journal, suspended
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, UID_WITHIN, Envelope, decode, uid_of
from proxmox_graph_mail.spool.lane import Lane, lane_of
from proxmox_graph_mail.spool.ledger import Ledger
from proxmox_graph_mail.spool.owner import owner_of
from proxmox_graph_mail.spool.store import Entry, Spool, arrival
from proxmox_graph_mail.spool.usage import daily_recipients
from proxmox_graph_mail.submission.streams import complain, write_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADER = 16 << 10  # bytes of a message that are read for its lane
LOOKED_AT = 10_000  # files of the queue, and of failed/, that are looked at for one user


def require_access(spool: Spool, *, change: bool = False) -> None:
    """Raise PrivilegeError unless this user may see (with `change`: and change) the queue; SpoolError if there is none, or if its
    disk takes no change."""
    if not os.path.isdir(spool.root) or (os.access(spool.root, os.X_OK) and not os.path.isdir(spool.queue)):
        raise SpoolError(condition.missing(spool))
    if not os.access(spool.queue, os.R_OK | os.X_OK):
        raise PrivilegeError("only root and the service user may see the queue")
    if change and (fault := condition.read_only(spool)):
        raise SpoolError(fault)
    if change and not os.access(spool.queue, os.W_OK):
        raise PrivilegeError("only root and the service user may change the queue")


def show(spool: Spool, *, as_json: bool) -> int:
    """Print the queue on standard output: all of it to who may see it; to any other user that user's own mail, and how much there
    is besides. Raises SpoolError, ReceptionError."""
    others = None
    try:
        require_access(spool)
        rows = listing(spool)
    except PrivilegeError:
        from proxmox_graph_mail.submission.submit import own_mail

        answer = own_mail(paths.run())
        rows, others = answer["rows"], answer["others"]
    try:
        write_out(json.dumps(rows, indent=1) + "\n" if as_json else table(rows, others))
    except BrokenPipeError:
        return 1  # whoever read it has enough
    except OSError as error:
        complain("mailq", f"cannot write the list: {error.strerror}")
        return EX_IOERR
    return EX_OK


def of_user(spool: Spool, uid: int) -> "dict[str, Any]":
    """A user's own mail, as rows, and the number of other messages by state: what the receiver answers. Of a long queue the
    newest LOOKED_AT files are looked at, and the rest counts as others'."""
    now, waits, owner = time.time(), Waits(spool), owner_of(uid)
    rows: list[dict[str, Any]] = []
    others: dict[str, int] = {}
    for failed, entries in ((False, spool.scan()), (True, spool.scan_failed())):
        directory = spool.failed if failed else spool.queue
        for entry in entries[::-1]:
            looked_at = len(entries) <= LOOKED_AT or entry.id >= entries[-LOOKED_AT].id
            try:
                if looked_at and owner_of(uid_of(read_beginning(f"{directory}/{entry.id}", UID_WITHIN))) == owner:
                    rows.append(_row(spool, entry, waits, failed=failed, now=now))
                    continue
            except OSError:
                continue  # sent meanwhile
            state = "failed" if failed else "queued" if entry.due <= now else "deferred"
            others[state] = others.get(state, 0) + 1
    return {"rows": sorted(rows, key=lambda row: str(row["id"])), "others": others}


def listing(spool: Spool, *, before: float = float("inf"), limit: int | None = None) -> "list[dict[str, Any]]":
    """Every message of queue/ and failed/ as an object of the contract: id, state, lane, arrived, sender, recipients, … `place`
    is its number among those that are queued.

    Times are RFC 3339 in UTC, sizes bytes of the message without its envelope. A damaged file is listed with what
    can be known of it. With `before` only those submitted until then, and with `limit` the oldest so many of each directory.
    """
    now = time.time()
    rows: list[dict[str, Any]] = []
    waits = Waits(spool)
    for failed, entries in ((False, spool.scan()), (True, spool.scan_failed())):
        for entry in [entry for entry in entries if arrival(entry.id) <= before][:limit]:
            try:
                rows.append(_row(spool, entry, waits, failed=failed, now=now))
            except FileNotFoundError:
                continue  # sent while we read
    queued = sorted((row for row in rows if row["state"] == "queued"), key=lambda row: (row["lane"], row["id"]))
    for place, row in enumerate(queued, 1):
        row["place"] = place
    return rows


def table(rows: "list[dict[str, Any]]", others: "dict[str, int] | None" = None) -> str:
    """The listing in the layout of Postfix's mailq; `others` are messages of which only their state may be told."""
    besides = ", ".join(f"{count} {state}" for state, count in (others or {}).items())
    besides = f"Other users' mail, which only root may see: {besides}.\n" if besides else ""
    if not rows:
        return besides or "Mail queue is empty\n"
    out = ["-Queue ID-          --Size-- ----Arrival Time---- -Sender/Recipient-------\n"]
    marks = {"held": "!", "failed": "#"}
    for row in rows:
        arrived = _local(row["arrived"]) if row["arrived"] else "unknown"
        out.append(f"{row['id'] + marks.get(row['state'], ' '):<19} {row['size']:>8} {arrived:<20} {printable(row['sender'])}\n")
        if row["reason"]:
            again = f"; next attempt {_local(row['next_attempt'], ' %Z')}" if row["next_attempt"] else ""
            lane = f"; lane {row['lane']}, place {row['place']}" if row.get("place") else ""
            out.append(f"{'':19} ({row['state']}: {printable(row['reason'])}{lane}{again})\n")
        out += [f"{'':49} {printable(recipient)}\n" for recipient in row["recipients"]]
        out.append("\n")
    counts = [f"{sum(row['state'] == state for row in rows)} {state}" for state in ("queued", "deferred", "held", "failed")]
    size = sum(row["size"] for row in rows) // 1024
    out.append(f"-- {size} Kbytes in {len(rows)} Request{'s' if len(rows) > 1 else ''}: {', '.join(counts)}.\n")
    return "".join([*out, besides])


def messages(number: int) -> str:
    """`1 message`, `2 messages`."""
    return f"{number} message{'' if number == 1 else 's'}"


def seconds(rfc3339: str) -> int:
    """What `stamp` made of seconds since the epoch."""
    return calendar.timegm(time.strptime(rfc3339, "%Y-%m-%dT%H:%M:%SZ"))


def _local(rfc3339: str, zone: str = "") -> str:
    """As Postfix's mailq shows it: this host's time."""
    return time.strftime(f"%a %b %e %H:%M:%S{zone}", time.localtime(seconds(rfc3339)))


class Waits:
    """Why mail waits that nobody tried."""

    def __init__(self, spool: Spool) -> None:
        self.suspended = suspended.read(spool)
        self._ledger = Ledger(spool.root)
        self._user_daily = daily_recipients(spool)

    def reason(self, lane: Lane, uid: int, now: float) -> tuple[float, str]:
        """Until when (0: a moment), and why; empty where nothing is known."""
        if lane in (Lane.USER, Lane.USERS_ALARM) and 0 < self._user_daily <= self._ledger.total(now, owner_of(uid)):
            return 0.0, f"mail of uid {uid} went to {self._user_daily} recipients in 24 hours (USER_DAILY_RECIPIENTS)"
        return self._ledger.reason(lane.number, now) or (0.0, "")


def _row(spool: Spool, entry: Entry, waits: Waits, *, failed: bool, now: float) -> "dict[str, Any]":
    past = journal.read(spool.failed if failed else spool.queue, entry.id)
    reason, lane = past.reason, Lane.USER
    try:
        with open(spool.open(entry.id, failed=failed), "rb") as file:
            line = file.readline(LINE_LIMIT)
            envelope, skip = decode(line), len(line)
            lane, _ = lane_of(envelope, header_of(file.read(HEADER)), os.stat(spool.root).st_uid)
    except (DataError, SpoolError) as error:
        envelope, skip = Envelope(sender="?", recipients=(), uid=-1, arrived=0), 0
        reason = reason or f"damaged: {error}"
    state = "failed" if failed else journal.state_in_queue(past, entry.due)
    next_attempt = max(entry.due, now)
    if not failed and waits.suspended.covers(entry.due, now):
        state, reason, next_attempt = waits.suspended.state, waits.suspended.reason, max(waits.suspended.until, now)
    elif state == "queued" and not reason:
        until, reason = waits.reason(lane, envelope.uid, now)
        next_attempt = max(until, now)
    return {
        "id": entry.id,
        "state": state,
        "arrived": stamp(envelope.arrived) if envelope.arrived else None,
        "sender": envelope.sender,
        "recipients": list(envelope.recipients),
        "uid": envelope.uid,
        "size": entry.size - skip,
        "attempts": past.attempts,
        "next_attempt": None if failed else stamp(next_attempt),
        "reason": reason,
        "lane": lane.number,
        "place": None,
    }


def stamp(epoch: float) -> str:
    """RFC 3339, UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
