"""Waiting for a message's outcome, for -odi and `queue flush`: by the kernel's word on the queue directory.

A message that leaves the queue was sent, or is in failed/; one that stays was deferred or held once its journal says so, and
why. An admin's `queue remove` in the same seconds looks like sent.
"""

import fcntl
import os
import select
import signal
import time

from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE
from proxmox_graph_mail.spool import journal, suspended
from proxmox_graph_mail.spool.store import Spool

_CHANGES = fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_ATTRIB | fcntl.DN_CREATE | fcntl.DN_MULTISHOT


class Watch:
    """Wakes its owner when a directory changes (dnotify; the standard library has no inotify).

    For a process's main thread; one at a time, for it owns SIGIO and the wake-up descriptor. The kernel may deliver the
    signal to any thread: the interpreter's handler writes to the descriptor from each.
    """

    def __init__(self, directory: str) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handler = signal.signal(signal.SIGIO, lambda *_: None)
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.fcntl(self._directory, fcntl.F_NOTIFY, _CHANGES)

    def wait(self, seconds: float) -> bool:
        """Sleep until the directory changes; False after `seconds`."""
        if not select.select([self._read], [], [], max(seconds, 0.0))[0]:
            return False
        os.read(self._read, 4096)
        return True

    def close(self) -> None:
        """Stop watching."""
        os.close(self._directory)
        signal.signal(signal.SIGIO, signal.SIG_IGN if self._handler in (None, signal.SIG_DFL) else self._handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)


def wait_for(spool: Spool, queue_id: str, seconds: float) -> tuple[int, str]:
    """The status of sysexits.h and the reason, once the message has an outcome or `seconds` are over."""
    end = time.monotonic() + seconds
    watch = Watch(spool.queue)
    try:
        while (outcome := outcome_of(spool, queue_id)) is None:
            if not watch.wait(end - time.monotonic()):
                return EX_TEMPFAIL, f"no outcome after {seconds:.0f} s; it is still being tried"
    finally:
        watch.close()
    return outcome


def outcome_of(spool: Spool, queue_id: str, since: float = 0.0) -> tuple[int, str] | None:
    """The status and reason of a message that was tried after `since`, or that waits with the whole queue since then; None if
    neither.

    Its journal tells, or what is written of the queue. Where the disk has no room for one, a next attempt that is no longer "at
    once" does.
    """
    due = spool.due(queue_id)
    if due is not None:
        past = journal.read(spool.queue, queue_id)
        if past.state == "failed":
            return None  # in this moment it is moved to failed/
        tried = past.time > since if past.state not in ("", "queued") else due > 0 and not past.state
        if tried:
            return EX_TEMPFAIL, past.reason or "reason unknown"
        waits = suspended.read(spool)
        return (EX_TEMPFAIL, waits.reason) if waits.covers(due, time.time()) and waits.time > since else None
    if os.path.lexists(f"{spool.failed}/{queue_id}"):
        return EX_UNAVAILABLE, journal.read(spool.failed, queue_id).reason or "reason unknown"
    return EX_OK, "sent"
