"""`run`: the queue runner as a process: lock, FIFO, signals, and leaving without losing a wake-up."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from proxmox_graph_mail import log
from proxmox_graph_mail.admin.duties import Duties
from proxmox_graph_mail.admin.wiring import state_path, tell_admin, tenancy
from proxmox_graph_mail.delivery.alarm import Alarm
from proxmox_graph_mail.delivery.events import Events
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.delivery.runner import Runner
from proxmox_graph_mail.delivery.supervision import Supervision
from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE
from proxmox_graph_mail.spool import Spool
from proxmox_graph_mail.submission.wake import default_run

IDLE = 300.0
"""Seconds with an empty queue after which the runner leaves; systemd starts it again at the next mail."""


def serve(
    spool: Spool,
    *,
    once: bool,
    lock: int | None,
    idle: float = IDLE,
    on_settled: Callable[[str, str], None] = lambda _id, _state: None,
) -> int:
    """Run until there is nothing left to do; return EX_OK, EX_TEMPFAIL if mail stays, EX_UNAVAILABLE if some failed.

    A runner that does not run `once` has done what it was asked when it ends: EX_OK, whatever waits or has failed.
    `lock` is a descriptor that holds the spool's lock already, or None to wait for it (signals still end the wait as they
    end any program).
    """
    held = spool.lock(wait=True) if lock is None else lock
    stop = threading.Event()
    events = Events(stop)
    watcher = tenancy(stop, events.watch)
    left = 0
    try:
        events.catch_signals()
        events.watch_queue(spool.queue)
        runner = Runner(
            spool, watcher, events, stop,
            supervision=Supervision(os.environ), record=Record(state_path()), on_settled=on_settled,
            alarm=Alarm(state_path(), tell_admin), daily=Duties(spool, state_path()),
        )  # fmt: skip
        while held is not None:
            try:
                events.listen(Path(default_run()))
                left = runner.run(once=once, idle=idle)
            finally:
                # From here on a sender finds no reader; whoever came before is seen by the scan below.
                events.stop_listening()
                os.close(held)
            if stop.is_set() or not runner.has_work():
                break
            held = spool.lock()  # None: another runner has begun, and will scan
        if stop.is_set():
            log.line(f"stopped by a signal; messages in the queue: {left}", log.NOTICE)
    finally:
        watcher.close()
        events.close()
    if not once:
        return EX_OK
    if runner.failed:
        return EX_UNAVAILABLE
    return EX_TEMPFAIL if left else EX_OK
