"""The runner's environment: clocks, random numbers, systemd, and what is done once a day."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from proxmox_graph_mail import files, log
from proxmox_graph_mail.delivery.alarm import Alarm
from proxmox_graph_mail.delivery.index import CLOCK_STEP
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.delivery.supervision import Report, Supervision
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.upkeep import expire, foreign, sweep

SHOWN = 10  # files that are not messages, named in the log
UPKEEP = 86400.0  # seconds between two looks at what others left in the spool


def since_boot() -> float:
    """Seconds on a clock that nobody sets, and that runs while the host is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Observers:
    """Who is told of every outcome: systemd's status line, the record, the alarm, and whoever waits for this pass."""

    report: Report
    record: Record | None = None
    alarm: Alarm | None = None
    on_settled: Callable[[str, str], None] = lambda _id, _state: None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`clock` is the host's, which somebody may set; `monotonic` one that nobody sets; `senders` makes so many threads; `daily`
    does what is due once a day, is told of the failed mail that was removed, and raises nothing."""

    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = since_boot
    rng: Callable[[], float] = random.random
    senders: Callable[[int], Executor] = ThreadPoolExecutor
    supervision: Supervision = field(default_factory=lambda: Supervision({}))
    daily: Callable[[Sequence[str]], None] = lambda _expired: None
    observers: Observers = field(default_factory=lambda: Observers(Report()))


class Lookout:
    """What may have changed since the last look, or since the last runner looked: a day gone by, the clock set, a boot.

    SPOOL/clock   the clock less the time since boot, in seconds, as the last runner knew it
    """

    def __init__(self, spool: Spool, world: Surroundings) -> None:
        self._spool = spool
        self._world = world
        self._offset = world.clock() - world.monotonic()
        self._upkeep_due = world.monotonic()
        self._clock_file = f"{spool.root}/clock"

    def woke_elsewhere(self) -> bool:
        """Was the host booted, or its clock set, since a runner last began? Then times in the queue may be another clock's, and
        what made mail wait may have passed."""
        try:
            before = float(files.read_beginning(self._clock_file, 40))
        except (OSError, ValueError):
            before = None
        if before is None or abs(before - self._offset) > 1:
            self._remember_clock()
        return before is not None and abs(before - self._offset) > CLOCK_STEP

    def _remember_clock(self) -> None:
        try:
            files.replace(self._clock_file, f"{self._offset:.3f}\n".encode())
        except OSError:
            pass  # a full or read-only disk: the next runner tries everything once more

    def clock_was_set_back(self) -> bool:
        """Times in the queue were written by the clock: once that is set back by more than a moment, they lie too far."""
        offset = self._world.clock() - self._world.monotonic()
        step, self._offset = offset - self._offset, offset
        if abs(step) > CLOCK_STEP:
            self._remember_clock()
        if step < -CLOCK_STEP:
            log.line(f"the clock was set back by {-step:.0f} s; everything in the queue is retried now", log.NOTICE)
        return step < -CLOCK_STEP

    def look_after(self, *, once: bool, patience: float = 0.0) -> None:
        """Once a day, or `patience` seconds later: clear up what others left, report what is not ours, and (not in a single pass)
        do what is due daily. It takes a moment, so the queue comes first."""
        now = self._world.monotonic()
        if now < self._upkeep_due + patience:
            return
        self._upkeep_due = now + UPKEEP
        gone: Sequence[str] = ()
        try:
            self._clear_up()
            gone = () if once else expire(self._spool, self._world.clock())
        except OSError as error:
            log.line(f"cannot look after {self._spool.queue}: {error.strerror}", log.WARNING)
        if gone:
            log.line(f"removed {len(gone)} failed mails of users after 30 days: {' '.join(gone[:SHOWN])}", log.NOTICE)
        if not once:
            self._world.daily(gone)

    def _clear_up(self) -> None:
        for path in sweep(self._spool, self._world.clock()):
            log.line(f"removed {path}, left by a submission that was killed before it was accepted", log.NOTICE)
        junk = foreign(self._spool)
        for path in junk[:SHOWN]:
            log.line(f"{path} is not a message; left alone", log.WARNING)
        if len(junk) > SHOWN:
            log.line(f"{len(junk) - SHOWN} more files in {self._spool.queue} are not messages; left alone", log.WARNING)
