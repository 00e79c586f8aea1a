"""A message's journal, `ID.log`: what happened to it so far, one event a line. Nobody else writes or reads that file.

The journal is advisory: the message's state is its directory and its mtime, and a journal that is lost costs a reason and a
count, never a mail. What must not be forgotten (who has the mail already, a hand-over that was asked for) is appended durably.
A line torn by a crash, or of another shape, is passed over.
"""

import errno
import json
import os
from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

from proxmox_graph_mail.files import NOT_PLAIN, open_plain, read_tail, replace
from proxmox_graph_mail.log import FIRST_RIGHT
from proxmox_graph_mail.spool.incoming import translated

TAIL = 4 << 20  # bytes read of a journal, from its end
LONGEST = 256 << 10
"""Bytes of a journal from which it is shortened to its last KEPT events and what the summary needs of the earlier ones: a message
may be held for months."""
KEPT = 100
ROUNDS = 2  # rounds whose time is remembered: with the present one they are three (delivery/schedule.py, MIN_ROUNDS)

ATTEMPT, PASSED_OVER, HAND_OVER, RETRIED, GATHERED = "attempt", "passed over", "hand-over", "retried", "gathered"
"""Kinds of events: it was tried; it was put off without being tried, for a reason that others met; root's part of it
(root_mail/); an admin took it back from failed/; it waits for others like it, or is in a digest."""
ASKED, DONE, FAILED = "asked", "done", "failed"
"""How far a hand-over of root's mail came."""


class Event(NamedTuple):
    """What happened at `time` (seconds since the epoch), and what the message has been since: `state` is deferred, held, failed,
    queued (gathered) or, when an admin took it back, empty.

    `attempts` counts this one too. `shared`: the reason concerned every message. `unclear` are addresses that may have it: the
    answer was unclear. `sent_to` are all that have it by now. `hand_over` is ASKED, DONE or FAILED, for the kind HAND_OVER alone.
    """

    time: float
    kind: str
    state: str
    reason: str
    code: str = ""
    attempts: int = 0
    shared: bool = False
    unclear: tuple[str, ...] = ()
    sent_to: tuple[str, ...] = ()
    hand_over: str = ""


class History(NamedTuple):
    """A journal summed up: the last event's state (empty: new), time, reason and code; attempts so far; the times of the last
    ROUNDS rounds (attempts, and being passed over); when it was last held (0: never); whether its last reason concerned every
    message, who may have it since the last unclear answer, who has it, how far root's part came, and when; when that unclear
    answer was; and since when it has been tried, by the first clock that was right (0: not yet), or since an admin took it back,
    which `retried` tells."""

    state: str = ""
    time: float = 0.0
    reason: str = ""
    code: str = ""
    attempts: int = 0
    rounds: tuple[float, ...] = ()
    last_held: float = 0.0
    shared: bool = False
    unclear: tuple[str, ...] = ()
    sent_to: tuple[str, ...] = ()
    hand_over: str = ""
    hand_over_at: float = 0.0
    unclear_at: float = 0.0
    begun: float = 0.0
    retried: bool = False

    def after(self, event: Event) -> "History":
        """The history with one event more."""
        retried = event.kind == RETRIED
        right = event.time if event.time >= FIRST_RIGHT else 0.0
        return History(
            state=event.state,
            time=event.time,
            reason=event.reason,
            code=event.code,
            attempts=max(self.attempts, event.attempts),
            rounds=()
            if retried
            else self.rounds
            if event.kind in (HAND_OVER, GATHERED)
            else (*self.rounds, event.time)[-ROUNDS:],
            last_held=event.time if event.state == "held" else self.last_held,
            shared=event.shared,
            unclear=event.unclear or self.unclear,
            sent_to=tuple(dict.fromkeys((*self.sent_to, *event.sent_to))),
            hand_over=event.hand_over or self.hand_over,
            hand_over_at=event.time if event.hand_over else self.hand_over_at,
            unclear_at=event.time if event.unclear else self.unclear_at,
            begun=right if retried else self.begun or (0.0 if event.kind == GATHERED else right),
            retried=self.retried or retried,
        )


NEW = History()


def append(directory: str | int, queue_id: str, event: Event, *, durable: bool = False) -> None:
    """Append an event to the journal of a message in `directory`, a path or a descriptor.

    Without `durable` a failure is no error; with it, raises SpoolError.
    """
    name, dir_fd = _place(directory, queue_id)
    try:
        fd = open_plain(name, os.O_RDWR | os.O_APPEND | os.O_CREAT, dir_fd=dir_fd)
        try:
            _as_root(fd, directory)
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            line = b"\n" * torn + _line(event)
            if os.write(fd, line) != len(line):  # the disk became full in the middle of it
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        if size > LONGEST and isinstance(directory, str):
            _shorten(directory, queue_id)
    except OSError as error:
        if durable:
            raise translated(error, name) from error


def events(directory: str | int, queue_id: str) -> list[Event]:
    """The events of a message's journal, oldest first; none if there is no journal, or something else in its place."""
    name, dir_fd = _place(directory, queue_id)
    try:
        text = read_tail(name, TAIL, dir_fd=dir_fd)
    except OSError:
        return []
    return [event for line in text.splitlines() if (event := _event(line)) is not None]


def read(directory: str | int, queue_id: str) -> History:
    """A message's journal, summed up."""
    return summary(events(directory, queue_id))


def summary(events: Iterable[Event]) -> History:
    """Sum events up."""
    return reduce(History.after, events, NEW)


def state_in_queue(past: History, due: float = 0.0) -> str:
    """queued, deferred or held: the state of a message in queue/ (one that failed is there because an admin retries it)."""
    if past.state in ("deferred", "held"):
        return past.state
    return "deferred" if due and past.state != "queued" else "queued"


def _shorten(directory: str, queue_id: str) -> None:
    """Leave out events of which the summary needs nothing. Raises OSError."""
    every = events(directory, queue_id)
    whole = summary(every)
    needed = set(range(len(every) - KEPT, len(every)))
    needed.update([number for number, event in enumerate(every) if event.unclear][-1:])
    needed.update([number for number, event in enumerate(every) if event.kind == RETRIED][-1:])
    needed.update([number for number, event in enumerate(every) if event.time == whole.begun][:1])
    needed.update([number for number, event in enumerate(every) if event.hand_over][-1:])
    needed.update([number for number, event in enumerate(every) if event.state == "held"][-1:])
    kept = [every[number] for number in sorted(needed) if number >= 0]
    kept[0] = kept[0]._replace(sent_to=whole.sent_to)
    if len(kept) < len(every) and summary(kept) == whole:
        replace(f"{directory}/{queue_id}.log", b"".join(_line(event) for event in kept), mode=0o640)


def _line(event: Event) -> bytes:
    return json.dumps(event._asdict()).encode() + b"\n"


def _place(directory: str | int, queue_id: str) -> tuple[str, int | None]:
    return (f"{directory}/{queue_id}.log", None) if isinstance(directory, str) else (f"{queue_id}.log", directory)


def _event(line: bytes) -> Event | None:
    try:
        content = json.loads(line)
        fields: dict[str, Any] = {name: content[name] for name in Event._fields if name in content}
        fields |= {name: tuple(str(address) for address in fields.get(name, ())) for name in ("unclear", "sent_to")}
        event = Event(**fields)
    except (ValueError, TypeError, RecursionError):
        return None
    return event if all(isinstance(value, kind) for value, kind in zip(event, _KINDS, strict=True)) else None


_KINDS: tuple[Any, ...] = ((int, float), str, str, str, str, int, bool, tuple, tuple, str)


def _as_root(fd: int, directory: str | int) -> None:
    """What root writes is the service user's to append to; and a second name of a file elsewhere is not written to."""
    if os.geteuid() != 0:
        return
    status, owner = os.fstat(fd), os.stat(directory)
    if status.st_nlink != 1:
        raise OSError(NOT_PLAIN, "it has another name")
    if status.st_uid == 0 != owner.st_uid:
        os.fchown(fd, owner.st_uid, owner.st_gid)
