"""Settling a message: an outcome becomes its next state, on disk and in the index, a log line, a row of the record, and what it
says about the other messages (suspension, alarm).

What the disk does not let us write is remembered in the message's record, and tried again after SPOOL_TROUBLE_PAUSE.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxmox_graph_mail import log
from proxmox_graph_mail.delivery.alarm import Alarm
from proxmox_graph_mail.delivery.attempt import Delivery
from proxmox_graph_mail.delivery.configuration import Configuration
from proxmox_graph_mail.delivery.index import Index, Queued
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.delivery.supervision import Report
from proxmox_graph_mail.delivery.suspension import Suspension
from proxmox_graph_mail.delivery.verdict import Verdict, decide, log_line, recorded
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.message.recipients import LOCAL_ROOT
from proxmox_graph_mail.root_mail.decision import ASKED, DONE, PATIENCE, Decision, RootPart
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.store import Spool

SPOOL_TROUBLE_PAUSE = 60.0
"""Seconds before a message is touched again whose change of state could not be written (a full or read-only disk)."""
PROXMOX = "proxmox-mail-forward"  # who takes root's mail in Graph's place


@dataclass(frozen=True, slots=True)
class Observers:
    """Who is told of every outcome: systemd's status line, the record, the alarm, and whoever waits for this pass."""

    report: Report
    record: Record | None = None
    alarm: Alarm | None = None
    on_settled: Callable[[str, str], None] = lambda _id, _state: None


class Settlement:
    """The one place where the runner changes the spool. For its main thread."""

    def __init__(
        self, spool: Spool, index: Index, configuration: Configuration, observers: Observers,
        *, clock: Callable[[], float], rng: Callable[[], float],
    ) -> None:  # fmt: skip
        self.suspension = Suspension()
        self.failed = 0
        self._spool = spool
        self._index = index
        self._configuration = configuration
        self._observers = observers
        self._clock = clock
        self._rng = rng
        self._successes = 0
        self._said: set[str] = set()

    def settle(self, message: Queued, delivery: Delivery, *, tried: bool = True) -> None:
        """Turn an outcome into the message's next state, and note what concerns the others."""
        now = self._clock()
        for warning in delivery.warnings:
            self.say_once(f"warning: {warning}")
        if delivery.outcome.shared and tried:
            delivery = self._concerning_all(message, delivery, now)
        verdict = decide(
            message.id, delivery, message.history,
            tried=tried, now=now, lifetime=self._configuration.lifetime, random=self._rng(),
            suspended_until=self.suspension.until,
        )  # fmt: skip
        self._tell(message, delivery, verdict, now, tried=tried)
        if verdict.state == "sent":
            self._sent(message, delivery)
        else:
            self._write(message, verdict, now)
            self._index.any_put_off = self._index.any_put_off or message.put_off
        self._observers.on_settled(message.id, verdict.state)

    def put_off(self, message: Queued, refusal: Outcome, arrived: float, to: tuple[str, ...]) -> None:
        """Settle a message without trying it, for a reason that others met."""
        self.settle(message, Delivery(replace(refusal, request_id=""), arrived, to), tried=False)

    def settle_root_part(self, message: Queued, decision: Decision) -> None:
        """Ask for the hand-over of root's part; or, where that is done and there is nobody else, settle the message."""
        now = self._clock()
        done = decision.part is RootPart.WHOLE
        arrived, uid = (decision.envelope.arrived, decision.envelope.uid) if decision.envelope else (0.0, -1)
        outcome = Outcome(Status.SENT, DONE) if done else Outcome(Status.TRANSIENT, ASKED)
        delivery = Delivery(outcome, arrived, (LOCAL_ROOT,), uid=uid, taken_by=PROXMOX)
        event = Event(
            round(now, 3), journal.HAND_OVER, "deferred", ASKED, attempts=message.history.attempts, hand_over=journal.ASKED
        )
        state = "sent" if done else "deferred"
        verdict = Verdict(state, outcome, message.history.attempts, max(now - arrived, 0.0), now + PATIENCE, event)
        self._tell(message, delivery, verdict, now, tried=True)
        if done:
            self._sent(message, delivery)
        else:
            self._write(message, verdict, now)
        self._observers.on_settled(message.id, state)

    def remove(self, message: Queued) -> None:
        """Remove a message that Graph has; where the disk does not let us, it is tried again while the runner lives."""
        now = self._clock()
        if message.not_before > now:
            return
        try:
            if message.keep:
                self._spool.keep(message.id, now)
            else:
                self._spool.remove(message.id)
        except SpoolError as error:
            message.not_before = now + SPOOL_TROUBLE_PAUSE
            self.say_once(f"{message.id}: sent, but cannot be removed from the queue: {error}")
        else:
            self._index.forget(message)

    def release(self, *, everything: bool = False) -> None:
        """Try again at once what was put off for a reason that concerned every message and has passed; or simply everything."""
        self.suspension.clear()
        self._index.any_put_off = False
        for message in self._index:
            if message.put_off or everything:
                message.put_off = False
                message.not_before = 0.0 if everything else message.not_before
                self._defer(message, 0.0)

    def say_once(self, text: str) -> None:
        """Log what would be true again at every pass once a run."""
        if text not in self._said:
            self._said.add(text)
            log.line(text, log.WARNING)

    def _concerning_all(self, message: Queued, delivery: Delivery, now: float) -> Delivery:
        """A message met what every other would meet too; unless others were sent since it met this last time: then the refusal is
        its own after all."""
        own = 0 <= message.refused_after < self._successes
        message.refused_after = self._successes
        if own:
            return replace(delivery, outcome=replace(delivery.outcome, shared=False))
        self.suspension.note(delivery.outcome, now, self._rng())
        return delivery

    def _tell(self, message: Queued, delivery: Delivery, verdict: Verdict, now: float, *, tried: bool) -> None:
        log.line(log_line(message.id, delivery, verdict), log.WARNING if verdict.state == "failed" else log.INFO)
        if self._observers.record is not None and (tried or verdict.state == "failed"):
            self._observers.record.add(**recorded(message.id, delivery, verdict, now))
        self._observers.report.settled(message.id, verdict.state, verdict.outcome.reason, now)
        if self._observers.alarm is not None:
            if delivery.outcome.shared:
                self._observers.alarm.refused(delivery.outcome, now)
            elif verdict.state == "sent" and not delivery.taken_by:
                self._observers.alarm.passed(now)

    def _sent(self, message: Queued, delivery: Delivery) -> None:
        message.sent = True
        message.keep = delivery.reduced
        message.not_before = 0.0
        self.remove(message)
        if not delivery.taken_by:
            self._successes += 1
            if self.suspension.clear() or self._index.any_put_off:
                self.release()

    def _write(self, message: Queued, verdict: Verdict, now: float) -> None:
        """Let the record, and the spool, agree with the verdict."""
        event = verdict.event
        message.happened(event)
        try:
            journal.append(self._spool.queue, message.id, event, durable=bool(event.sent_to or event.hand_over))
            if verdict.state == "failed":
                self._spool.fail(message.id)
                self._index.forget(message)
                self.failed += 1
                return
            self._spool.defer(message.id, verdict.next_attempt)
            message.due = verdict.next_attempt
            if event.hand_over:
                self._spool.ask_hand_over(message.id)
        except SpoolError as error:
            self.say_once(str(error))
            if event.hand_over:  # it would be asked for again and again: it goes directly
                message.happened(event._replace(hand_over=journal.FAILED))
                self._defer(message, 0.0)
            else:
                message.not_before = now + SPOOL_TROUBLE_PAUSE

    def _defer(self, message: Queued, when: float) -> None:
        try:
            self._spool.defer(message.id, when)
            message.due = when
        except SpoolError as error:
            self.say_once(str(error))
