"""The queue runner: the one process that sends.

It holds the spool's lock. It scans the queue, sends up to four messages at once (Exchange Online allows an app four
concurrent requests per mailbox), settles each (sent: unlink; deferred or held: next attempt; failed: failed/), and
sleeps until the next attempt is due, a byte comes in through the FIFO, the settings change, or a signal comes. It
leaves when the queue has been empty for a while (systemd's FIFO starts it again), or, in a single pass, when nothing
more is due.

Only the main thread changes the spool. A worker reads one message and talks to Graph; being killed at any instant
leaves every message whole, and at worst sends again what was sent but not yet unlinked.
"""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from proxmox_graph_mail import log
from proxmox_graph_mail.delivery.alarm import Alarm
from proxmox_graph_mail.delivery.attempt import Delivery, attempt
from proxmox_graph_mail.delivery.events import Events
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.delivery.root_mail import HandOvers, given_up
from proxmox_graph_mail.delivery.supervision import Report, Supervision
from proxmox_graph_mail.delivery.suspension import Suspension
from proxmox_graph_mail.delivery.tenancy import REREAD, Tenancy
from proxmox_graph_mail.delivery.turns import DEATHS, Owners, Suspects, in_turns
from proxmox_graph_mail.delivery.unremoved import Unremoved
from proxmox_graph_mail.delivery.upkeep import foreign, sweep
from proxmox_graph_mail.delivery.verdict import decide, history_of, log_line, recorded
from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.spool import Entry, Spool
from proxmox_graph_mail.submission import forwarding
from proxmox_graph_mail.submission.mailq import read_envelope

SENDERS = 4
"""Messages in flight at once (Graph, "Throttling limits", Outlook: 4 concurrent requests per app and mailbox)."""
SPOOL_TROUBLE_PAUSE = 60.0
"""Seconds before a message is touched again whose change of state could not be written (a full or read-only disk)."""
CLOCK_STEP = 60.0
"""Seconds by which the clock may be slewed without notice."""
LARGE = 10 << 20
"""Bytes of a message from which only one is in hand at a time: taken apart, each takes some five times its size of memory."""
LONGEST_SLEEP = 600.0
"""Seconds; a sleep is measured by a clock that nobody sets, the next attempt by one that somebody may."""


def since_boot() -> float:
    """Seconds on a clock that nobody sets, and that runs while the host is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Runner:
    """Passes over the queue, until there is nothing left to do."""

    def __init__(
        self,
        spool: Spool,
        tenancy: Tenancy,
        events: Events,
        stop: threading.Event,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = since_boot,
        rng: Callable[[], float] = random.random,
        supervision: Supervision | None = None,
        record: Record | None = None,
        alarm: Alarm | None = None,
        daily: Callable[[], None] = lambda: None,
        on_settled: Callable[[str, str], None] = lambda _id, _status: None,
    ) -> None:
        self._spool = spool
        self._tenancy = tenancy
        self._events = events
        self._stop = stop
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._on_settled = on_settled
        self._supervision = supervision or Supervision({})
        self._record = record
        self._alarm = alarm
        self._daily = daily
        self._suspension = Suspension()
        self._suspects = Suspects(spool)
        self._owners = Owners(spool)
        self._report = Report()
        self._large: set[str] = set()  # the last large message that was begun
        self._in_flight: dict[str, Future[Delivery]] = {}
        self._shared: set[str] = set()  # put off for a reason that concerns every message
        self._sent = Unremoved(spool, SPOOL_TROUBLE_PAUSE)
        self._not_before: dict[str, float] = {}  # what the disk would not let us write into mtime
        self._reached: dict[str, tuple[str, ...]] = {}  # who has a message, where the disk would not let us write it down
        self._hand_overs = HandOvers(spool)
        self._probes: dict[str, int] = {}  # how often a message was the probe of a suspended queue
        self._successes = 0
        self._refused: dict[str, int] = {}  # a message that met a shared refusal, and how many had been sent by then
        self._reported: set[str] = set()
        self._once = False
        self._mended = False  # the settings are not those of the first reading, or an admin says that something was mended
        self._clock_offset = clock() - monotonic()
        self.failed = 0

    def run(self, *, once: bool = False, idle: float = 300.0) -> int:
        """Work until idle (or, with `once`, until nothing is due); return how many messages remain in the queue."""
        self._once = once
        with ThreadPoolExecutor(SENDERS, thread_name_prefix="sender") as senders:
            self._start(once=once)
            self._supervision.ready()
            busy = self._clock()
            while not self._stop.is_set():
                self._supervision.alive()
                self._collect()
                self._notice_clock()
                if self._monotonic() - self._looked_after > 86400:
                    self._look_after()
                if self._spool.take_urge() or self._events.urged():
                    self._tenancy.invalidate()
                    self._mended = True
                if not self._in_flight and self._tenancy.refresh():
                    self._release(forget=True)
                    self._hand_overs.forget()
                    self._mended = True  # a later reading means that the settings changed
                entries = self._scan()
                self._dispatch(entries, senders)
                self._tell(entries)
                now = self._clock()
                if entries or self._in_flight:
                    busy = now
                elif self._alarm is not None:
                    self._alarm.idle()
                waiting = self._in_flight or any(self._is_due(entry, now) for entry in entries)
                if not waiting and (once or now - busy >= idle):
                    break
                if self._in_flight or not waiting:  # else nothing was dispatched because the settings changed this instant
                    self._wait(self._sleep(entries, now, busy + idle))
            self._supervision.stopping()
            self._collect()
            while self._in_flight:  # a send that is under way is left to finish, and its outcome is settled
                self._wait(None)
                self._supervision.alive()
                self._collect()
        return len(self._scan())

    def _wait(self, seconds: float | None) -> None:
        """Sleep until something happens, no longer than `seconds`, nor than systemd waits for a sign of life."""
        limits = [limit for limit in (seconds, self._supervision.interval) if limit is not None]
        self._events.wait(min(limits) if limits else None)

    def has_work(self) -> bool:
        """Is anything due that this runner could do something about now?"""
        now = self._clock()
        return any(self._is_due(entry, now) for entry in self._scan())

    def _look_after(self) -> None:
        """Clear up what others left, report what is not ours, and do what is to be done once a day."""
        self._looked_after = self._monotonic()
        if not self._once:
            self._daily()
        try:
            for path in sweep(self._spool, self._clock()):
                log.line(f"removed {path}: left by a submission that was killed before it was accepted", log.NOTICE)
            for path in foreign(self._spool):
                log.line(f"{path} is no message; left alone", log.WARNING)
        except OSError as error:
            log.line(f"cannot look after {self._spool.queue}: {error.strerror}", log.WARNING)

    def _start(self, *, once: bool) -> None:
        self._look_after()
        for entry in self._scan():
            past = history_of(self._spool, entry.id)
            if past.shared:
                self._shared.add(entry.id)
            if past.state:
                self._report.found(entry.id, past.state)
        for queue_id in self._suspects.deadly():
            if self._spool.due(queue_id) is not None:
                reason = f"the queue runner ended {DEATHS} times with this message in hand (out of memory? see the journal)"
                self._settle(queue_id, Delivery(Outcome(Status.HELD, reason, "Deadly")))
        if once:
            self._tenancy.refresh()  # else the first refresh releases what an earlier runner held

    def _notice_clock(self) -> None:
        """Times in the queue were written by the clock: once that is set back by more than a moment, they lie too far."""
        offset = self._clock() - self._monotonic()
        if offset - self._clock_offset < -CLOCK_STEP:
            log.line(f"the clock was set by {offset - self._clock_offset:+.0f} s; everything in the queue is due", log.NOTICE)
            self._not_before.clear()
            self._shared.update(entry.id for entry in self._scan())
            self._release()
        self._clock_offset = offset

    def _scan(self) -> list[Entry]:
        try:
            return [entry for entry in self._spool.scan() if entry.id not in self._sent or self._unlink(entry.id)]
        except SpoolError as error:
            self._say_once(str(error))
            return []

    def _is_due(self, entry: Entry, now: float) -> bool:
        return (
            entry.id not in self._in_flight
            and entry.id not in self._sent
            and entry.is_due(now)
            and self._not_before.get(entry.id, 0.0) <= now
        )

    def _sleep(self, entries: list[Entry], now: float, idle_end: float) -> float | None:
        """Seconds until a message is due by the clock, or idling ends; None to wait for a sender to finish."""
        times = [
            max(entry.due, self._not_before.get(entry.id, 0.0), self._sent.not_before(entry.id))
            for entry in entries
            if entry.id not in self._in_flight
        ]
        future = [when - now for when in times if when > now]
        if self._tenancy.route is None:
            future.append(REREAD)
        if self._alarm is not None and (alarm := self._alarm.look(now)) is not None:
            future.append(alarm)
        if self._in_flight:
            return min(future) if future else None
        return min([*future, LONGEST_SLEEP] if entries else [max(idle_end - now, 0.0)])

    def _dispatch(self, entries: list[Entry], senders: ThreadPoolExecutor) -> None:
        now = self._clock()
        if self._tenancy.changed():
            return  # those in flight finish on the old connection, then the settings are read again
        due = in_turns([entry for entry in entries if self._is_due(entry, now)], self._owners.uid)
        if self._suspension.probing:  # another one each round: a mail that alone meets the refusal must not stop the others
            due.sort(key=lambda entry: self._probes.get(entry.id, 0))
        due.sort(key=lambda entry: self._suspects.deaths(entry.id) > 0)
        for entry in due:
            route = self._tenancy.route
            refusal = self._suspension.active(now)
            if route is None:
                refusal = Outcome(Status.HELD, self._tenancy.error, "Settings", shared=True)
            if route is None or refusal is not None:
                if not self._hand_over(entry.id, now):
                    self._put_off(entry.id, refusal or Outcome(Status.HELD))
                continue
            if len(self._in_flight) >= (1 if self._suspension.probing else SENDERS):
                return
            if entry.size > LARGE and self._large.intersection(self._in_flight):
                continue
            if self._in_flight and any(self._suspects.deaths(queue_id) for queue_id in (entry.id, *self._in_flight)):
                return  # alone, so that it is known which of them it was
            if self._suspension.probing:
                self._probes[entry.id] = self._probes.get(entry.id, 0) + 1
            self._suspects.record([*self._in_flight, entry.id])
            if entry.size > LARGE:
                self._large = {entry.id}
            past = history_of(self._spool, entry.id)
            forwarded = self._hand_overs.state(entry.id, past.forwarded, now)
            if given_up(forwarded, now):
                self._spool.take_back(entry.id)
            done = (*past.sent_to, *self._reached.get(entry.id, ()))
            future = senders.submit(
                attempt, self._spool, entry.id, route, done, self._clock, uncertain=past.uncertain, forwarded=forwarded
            )
            self._in_flight[entry.id] = future
            future.add_done_callback(lambda _: self._events.notify())

    def _collect(self) -> None:
        for queue_id, future in list(self._in_flight.items()):
            if future.done():
                del self._in_flight[queue_id]
                try:
                    delivery = future.result()
                except FileNotFoundError as error:
                    if self._spool.due(queue_id) is None:
                        continue  # an admin removed it
                    delivery = Delivery(Outcome(Status.TRANSIENT, f"this program misses a file: {error.filename}", "Missing"))
                except Exception as error:  # noqa: BLE001 - a mail that breaks us must not stop the others, nor be lost
                    reason = f"this program failed on the message ({type(error).__name__}); please report this"
                    delivery = Delivery(Outcome(Status.TRANSIENT, reason, type(error).__name__))
                self._settle(queue_id, delivery)
                self._suspects.clear(queue_id)
                self._suspects.record(self._in_flight)

    def _tell(self, entries: list[Entry]) -> None:
        """What `systemctl status` shows."""
        try:
            failed = len(self._spool.scan_failed())
        except SpoolError as error:
            self._say_once(str(error))
            failed = 0
        trouble = (self._alarm.text if self._alarm is not None else "") or self._tenancy.error
        self._supervision.status(self._report.line([entry.id for entry in entries], failed, trouble))

    def _hand_over(self, queue_id: str, now: float) -> bool:
        """Local root's mail goes to Proxmox's notification system though Graph takes none."""
        past = history_of(self._spool, queue_id)
        found = self._hand_overs.instead(queue_id, self._tenancy.directory, past.sent_to, past.forwarded, now)
        if found is not None:
            outcome, envelope = found
            delivery = Delivery(outcome, envelope.arrived, (forwarding.LOCAL_ROOT,), past.sent_to, uid=envelope.uid)
            self._settle(queue_id, delivery)
        return found is not None

    def _put_off(self, queue_id: str, refusal: Outcome) -> None:
        """Settle a message without trying it, for a reason that others met."""
        try:
            envelope, _ = read_envelope(self._spool, queue_id)
            known = Delivery(replace(refusal, request_id=""), envelope.arrived, envelope.recipients)
        except (DataError, SpoolError, OSError):
            known = Delivery(replace(refusal, request_id=""))  # damaged: seen when it is tried
        self._settle(queue_id, known, tried=False)

    def _settle(self, queue_id: str, delivery: Delivery, *, tried: bool = True) -> None:
        """Turn an outcome into the message's next state, write the log line, and note what concerns the others."""
        self._supervision.alive()
        now = self._clock()
        for warning in delivery.warnings:
            self._say_once(f"warning: {warning}")
        if delivery.outcome.shared and tried:
            if self._refused.get(queue_id, self._successes) < self._successes:
                # Others were sent since it met this last time: the refusal is this message's own after all.
                delivery = replace(delivery, outcome=replace(delivery.outcome, shared=False))
            self._refused[queue_id] = self._successes
        if delivery.outcome.shared and tried:
            self._suspension.note(delivery.outcome, now, self._rng())
        verdict = decide(
            queue_id, delivery, history_of(self._spool, queue_id),
            tried=tried, now=now, lifetime=self._tenancy.lifetime, random=self._rng(), suspended_until=self._suspension.until,
        )  # fmt: skip
        log.line(log_line(queue_id, delivery, verdict), log.WARNING if verdict.state == "failed" else log.INFO)
        if self._record is not None and (tried or verdict.state == "failed"):
            self._record.add(**recorded(queue_id, delivery, verdict, now))
        self._report.settled(queue_id, verdict.state, verdict.outcome.reason, now)
        if self._alarm is not None and delivery.outcome.shared:
            self._alarm.refused(delivery.outcome, now)
        if verdict.state == "sent":
            if self._alarm is not None and delivery.outcome.code != forwarding.CODE:
                self._alarm.passed(now)
            self._successes += delivery.outcome.code != forwarding.CODE
            self._refused.pop(queue_id, None)
            self._sent.add(queue_id, keep=delivery.reduced)
            self._unlink(queue_id)
            self._shared.discard(queue_id)
            self._reached.pop(queue_id, None)
            self._probes.pop(queue_id, None)
            if delivery.outcome.code != forwarding.CODE and (self._suspension.clear() or self._shared):
                self._release()
        else:
            if delivery.sent_to:
                self._reached[queue_id] = delivery.sent_to
            try:
                asked = verdict.outcome.code == forwarding.CODE
                self._spool.append_log(queue_id, verdict.event, durable=asked or bool(delivery.sent_to))
                if verdict.state == "failed":
                    self._spool.fail(queue_id)
                    self.failed += 1
                else:
                    self._spool.defer(queue_id, verdict.next_attempt)
                    if asked:
                        self._spool.hand_over(queue_id)
            except SpoolError as error:
                self._say_once(str(error))
                if verdict.outcome.code == forwarding.CODE:
                    self._hand_overs.unrecorded(queue_id)
                else:
                    self._not_before[queue_id] = now + SPOOL_TROUBLE_PAUSE
            if delivery.outcome.shared:
                self._shared.add(queue_id)
        self._on_settled(queue_id, verdict.state)

    def _unlink(self, queue_id: str) -> bool:
        """Remove a sent message; is it still there?"""
        if problem := self._sent.remove(queue_id, self._clock()):
            self._say_once(problem)
        return queue_id in self._sent

    def _release(self, *, forget: bool = False) -> None:
        """Try again at once what was put off for a reason that concerned every message and has passed."""
        self._suspension.clear()
        if self._tenancy.route is not None and forget:
            self._tenancy.route.mailer.forget_refusals()
            if self._mended:
                self._tenancy.route.mailer.forget_permissions()
        for queue_id in self._shared - self._in_flight.keys():
            try:
                self._spool.defer(queue_id, 0)
            except SpoolError as error:
                self._say_once(str(error))
        self._shared = set()

    def _say_once(self, text: str) -> None:
        """Log what would be true again at every pass once a run."""
        if text not in self._reported:
            self._reported.add(text)
            log.line(text, log.WARNING)
