"""`run`: the queue runner as a process: lock, FIFO, signals, and leaving without losing a wake-up."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.admin.connection import configuration
from proxmox_graph_mail.admin.duties import Duties
from proxmox_graph_mail.admin.privileges import become_service_user
from proxmox_graph_mail.delivery.alarm import Alarm
from proxmox_graph_mail.delivery.events import Events
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.delivery.runner import Runner
from proxmox_graph_mail.delivery.supervision import Report, Supervision
from proxmox_graph_mail.delivery.surroundings import Observers, Surroundings
from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE, UsageError
from proxmox_graph_mail.proxmox import system
from proxmox_graph_mail.settings import Settings, alarm_command, remember_alarm_command
from proxmox_graph_mail.spool.lock import lock as take_lock
from proxmox_graph_mail.spool.lock import owns_lock
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.usage import grant_daily_recipients
from proxmox_graph_mail.spool.wake import wake

LONGEST = 1_000_000_000  # seconds
IDLE = 300.0  # seconds with an empty queue after which the runner leaves; systemd starts it again at the next mail


def run(*, once: bool = False, idle: float = IDLE, lock_fd: int = -1) -> int:
    """The verb: become the queue runner; the exit status. `lock_fd` is an inherited lock."""
    if not 0 <= idle <= LONGEST or not -1 <= lock_fd < LONGEST:
        raise UsageError(f"--idle takes 0 to {LONGEST} seconds")
    log.setup("runner", echo=not os.path.exists(paths.syslog()) or os.isatty(2))
    spool = Spool()
    if lock_fd < 0 and not os.path.isdir(spool.root):
        spool.create()
    become_service_user(spool)
    if lock_fd < 0:
        spool.create()  # as its owner: root makes nothing where others may have put a link
    lock = lock_fd if lock_fd >= 0 and owns_lock(spool.root, lock_fd) else None
    if once and lock is None:
        lock = take_lock(spool.root)
        if lock is None:
            wake(paths.run())  # a runner is at work; it has the mail
            return EX_OK
    return serve(spool, once=once, lock=lock, idle=idle)


def serve(
    spool: Spool, *, once: bool, lock: int | None, idle: float = IDLE,
    on_settled: Callable[[str, str], None] = lambda _id, _state: None,
) -> int:  # fmt: skip
    """Run until there is nothing left to do; return EX_OK, EX_TEMPFAIL if mail stays, EX_UNAVAILABLE if some failed.

    A runner that does not run `once` has done what it was asked when it ends: EX_OK, whatever waits or has failed.
    `lock` is a descriptor that holds the spool's lock already, or None to wait for it (signals still end the wait as they
    end any program).
    """
    held = take_lock(spool.root, wait=True) if lock is None else lock
    stop = threading.Event()
    events = Events(stop)
    watched = configuration(stop, events.watch, lambda settings: _remember(spool, settings))
    state = Path(paths.state())
    observers = Observers(Report(), Record(state), Alarm(state, _tell_admin), on_settled)
    world = Surroundings(supervision=Supervision(os.environ), daily=Duties(spool, state), observers=observers)
    left = 0
    try:
        events.catch_signals()
        events.watch_queue(spool.queue)
        runner = Runner(spool, watched, events, stop, world)
        while held is not None:
            try:
                events.listen(Path(paths.run()))
                left = runner.run(once=once, idle=idle)
            finally:
                # From here on a sender finds no reader; whoever came before is seen by the scan below.
                events.stop_listening()
                os.close(held)
            if stop.is_set() or not runner.has_work():
                break
            held = take_lock(spool.root)  # None: another runner has begun, and will scan
        if stop.is_set():
            log.line(f"stopped by a signal; messages in the queue: {left}", log.NOTICE)
    finally:
        watched.close()
        events.close()
    return EX_OK if not once else EX_UNAVAILABLE if runner.failed else EX_TEMPFAIL if left else EX_OK


def _remember(spool: Spool, settings: Settings) -> None:
    """Keep what others must know of the settings, or we ourselves when they cannot be read."""
    grant_daily_recipients(spool, settings.user_daily_recipients)
    try:
        remember_alarm_command(settings.alarm_command)
    except OSError as error:
        log.line(f"cannot write {error.filename}: {error.strerror}", log.WARNING)


def _tell_admin(text: str) -> None:
    """Give a text to the admin's ALARM_COMMAND, if there is one."""
    if command := alarm_command():
        system.tell_admin(command, text)
