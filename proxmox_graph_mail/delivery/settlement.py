"""Settling a message: an outcome becomes its next state, on disk and in the index, a log line, a row of the record, and what it
says about the other messages (suspension, alarm).

What the disk does not let us write is remembered in the message's record, and tried again after SPOOL_TROUBLE_PAUSE.
"""

from dataclasses import replace

from proxmox_graph_mail import log
from proxmox_graph_mail.delivery import members
from proxmox_graph_mail.delivery.attempt import Delivery
from proxmox_graph_mail.delivery.configuration import Configuration
from proxmox_graph_mail.delivery.index import Index
from proxmox_graph_mail.delivery.pace import Pace
from proxmox_graph_mail.delivery.queued import Place, Queued
from proxmox_graph_mail.delivery.surroundings import Surroundings
from proxmox_graph_mail.delivery.suspension import Suspension
from proxmox_graph_mail.delivery.verdict import Verdict, decide, log_line, recorded, too_old
from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.message.recipients import LOCAL_ROOT
from proxmox_graph_mail.root_mail.decision import ASKED, DONE, PATIENCE, Decision, RootPart
from proxmox_graph_mail.spool import journal, usage
from proxmox_graph_mail.spool.journal import Event, History
from proxmox_graph_mail.spool.store import Spool, arrival

SPOOL_TROUBLE_PAUSE = 60.0
"""Seconds before a message is touched again whose change of state could not be written (a full or read-only disk)."""
STALL = 900.0  # seconds in which nothing was settled, though mail is in hand, after which that is an alarm
STALLED = Outcome(
    Status.HELD,
    "mail is in hand, and nothing has come of it for 15 minutes: look at what is between this host and Graph",
    "Stalled",
)
SYNC_PAUSE = 0.1  # seconds between two fsyncs of the directory for what was removed
COUNT_PAUSE = 60.0  # seconds between two counts of failed/
PROXMOX = "proxmox-mail-forward"  # who takes root's mail in Graph's place


class Settlement:
    """The one place where the runner changes the spool. For its main thread."""

    def __init__(
        self, spool: Spool, index: Index, configuration: Configuration, world: Surroundings, pace: Pace
    ) -> None:  # fmt: skip
        self._pace = pace
        self.suspension = Suspension(spool)
        self.failed = 0
        self._spool = spool
        self._index = index
        self._configuration = configuration
        self._observers = world.observers
        self._clock, self._monotonic, self._rng = world.clock, world.monotonic, world.rng
        self._successes = 0
        self.unremoved: list[Queued] = []
        """What was sent, but the disk does not let its file be removed."""
        self.unsynced = False
        """Was something removed that may come back with the power?"""
        self._synced_at = self._count_at = float("-inf")
        self._moved_at = world.monotonic()  # when something was settled last, or nothing was in hand
        self._settled = False
        self._failed_there = 0
        self._said: set[str] = set()

    def settle(self, message: Queued, delivery: Delivery, *, tried: bool = True) -> None:
        """Turn an outcome into the message's next state, and note what concerns the others."""
        now = self._clock()
        for warning in delivery.warnings:
            self.say_once(f"warning: {warning}")
        begins = False
        if tried and self.suspension.concerns_all(message.id, delivery.outcome):
            delivery, begins = self._concerning_all(message, delivery, now)
        verdict = decide(
            message.id, delivery, self._with_rounds(message.history),
            tried=tried, now=now, lifetime=self._configuration.lifetime, random=self._rng(),
            suspended_until=self.suspension.until,
        )  # fmt: skip
        if message.members and verdict.state == "failed":
            self._dissolve(message, delivery, verdict)
            return
        self._tell(message, delivery, verdict, now, tried=tried)
        if verdict.state == "sent":
            members.tell(self._index, self._observers.record, message, delivery, verdict, now)
            self._sent(message, delivery, now)
        else:
            self._write(message, verdict, now)
        self._settled = True
        self._moved_at = self._monotonic()
        self._observers.on_settled(message.id, verdict.state)
        if begins and delivery.outcome.status is not Status.HELD:
            self._expire(delivery.outcome, now)

    def _with_rounds(self, history: History) -> History:
        """A message's history, with the rounds of the queue as a whole, which it waited through, and the mailbox's pace."""
        rounds = sorted({*history.rounds, *self.suspension.round_times})[-journal.ROUNDS :]
        waited = min(self._pace.ledger.waited, history.begun or float("inf"))  # it waits for the pace until it is tried
        return history._replace(rounds=tuple(rounds), last_held=max(history.last_held, self.suspension.last_held, waited))

    def _expire(self, outcome: Outcome, now: float) -> None:
        """Give up what became too old while the queue was suspended: it is not tried, so it would never end."""
        passed_over = replace(outcome, request_id="", shared=False)
        lifetime = self._configuration.lifetime
        for message in self._index:
            if message.place is Place.READY and now - arrival(message.id) > lifetime:
                try:
                    envelope, _ = self._spool.envelope(message.id)
                except (DataError, SpoolError, OSError):
                    continue  # damaged: seen when it is tried
                if too_old(envelope.arrived, self._with_rounds(message.history), now=now, lifetime=lifetime):
                    self.settle(message, Delivery(passed_over, envelope.arrived, envelope.recipients), tried=False)

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
            self._sent(message, delivery, now)
        else:
            self._write(message, verdict, now)
        self._observers.on_settled(message.id, state)

    def round_ends(self, *, last: bool = False) -> None:
        """Make durable what was removed lately: one fsync of the directory for all of it, at most every SYNC_PAUSE seconds. A
        crash before it sends at most these mails again."""
        for message in self.unremoved[:]:
            self._remove(message, self._clock())
        if not self._index.tally.at(Place.IN_HAND):
            self._moved_at = self._monotonic()
        elif self._monotonic() - self._moved_at > STALL and self._observers.alarm is not None:
            self._observers.alarm.refused(STALLED, self._clock() - STALL)
        if self.unsynced and (last or self._monotonic() - self._synced_at >= SYNC_PAUSE):
            self.unsynced = False
            self._synced_at = self._monotonic()
            try:
                self._spool.sync()
            except SpoolError as error:
                self.say_once(str(error))

    def count_failed(self) -> int:
        """How many messages are in failed/: counted anew at most every COUNT_PAUSE seconds, and not before one was settled."""
        if self._settled and self._monotonic() >= self._count_at:
            self._count_at = self._monotonic() + COUNT_PAUSE
            try:
                self._failed_there = self._spool.count_failed()
            except SpoolError as error:
                self.say_once(str(error))
        return self._failed_there

    def release(self, *, everything: bool = False) -> None:
        """Try again at once what was put off for a reason that concerned every message and has passed; or simply everything."""
        now = self._clock()
        self.suspension.clear(now)
        self._index.release()
        for message in self._index if everything else ():
            if message.place is Place.NEW and message.due > 0:
                self._defer(message, 0.0)  # it is ready once it is read
            elif message.place is Place.WAITING:
                message.in_trouble().not_before = 0.0
                self._defer(message, 0.0)
                self._index.place(message, now)

    def say_once(self, text: str) -> None:
        """Log what would be true again at every pass once a run."""
        if text not in self._said:
            self._said.add(text)
            log.line(text, log.WARNING)

    def _concerning_all(self, message: Queued, delivery: Delivery, now: float) -> tuple[Delivery, bool]:
        """A message met what every other would meet too; unless others were sent since it met this last time: then the refusal is
        its own after all. Also: does a round of the suspension begin with it?"""
        trouble = message.in_trouble()
        own = 0 <= trouble.refused_after < self._successes
        trouble.refused_after = self._successes
        delivery = replace(delivery, outcome=replace(delivery.outcome, shared=not own))
        return delivery, not own and self.suspension.note(delivery.outcome, now, self._rng())

    def _tell(self, message: Queued, delivery: Delivery, verdict: Verdict, now: float, *, tried: bool) -> None:
        log.line(log_line(message.id, delivery, verdict), log.WARNING if verdict.state == "failed" else log.INFO)
        if self._observers.record is not None and (tried or verdict.state == "failed"):
            self._observers.record.add(**recorded(message.id, delivery, verdict, now))
        self._observers.report.settled(verdict.state, now)
        if self._observers.alarm is not None:
            if delivery.outcome.shared:
                self._observers.alarm.refused(delivery.outcome, now)
            elif verdict.state == "sent" and not delivery.taken_by:
                self._observers.alarm.passed(now)

    def _dissolve(self, message: Queued, delivery: Delivery, verdict: Verdict) -> None:
        """A digest failed: its members go by themselves, to those who have none of it, and it is no mail of anybody's."""
        if sent_to := tuple(dict.fromkeys((*message.history.sent_to, *delivery.sent_to))):
            members.remember(self._spool, self._index, message, sent_to, self._clock())
        log.line(f"{message.id}: digest given up ({verdict.outcome.reason}); its members go one by one", log.WARNING)
        try:
            self._spool.remove(message.id)
        except SpoolError as error:
            self.say_once(str(error))
        self._index.forget(message)  # which tells that it was removed

    def _sent(self, message: Queued, delivery: Delivery, now: float) -> None:
        if message.members:
            message.in_trouble().kept = delivery.left_out
        elif delivery.reduced:
            message.in_trouble().keep = True
        self._index.sent(message)
        self._remove(message, now)
        if not delivery.taken_by:
            self._successes += 1
            if self.suspension.probing or self._index.put_off:
                self.release()

    def _remove(self, message: Queued, now: float) -> None:
        """Remove a message that Graph has; where the disk does not let us, it is tried again while the runner lives."""
        if message.trouble.not_before > now:
            return
        if message in self.unremoved:
            self.unremoved.remove(message)
        try:
            if message.members:
                members.remove(self._spool, self._index, message, now)
            elif message.trouble.keep:
                self._spool.keep(message.id, now)
                usage.has_left(self._spool, message.uid, 1, 0)
            else:
                size = self._spool.size(message.id) if message.uid > 0 else 0
                self._spool.remove(message.id, durable=False)
                self.unsynced = True
                usage.has_left(self._spool, message.uid, 1, size)
        except SpoolError as error:
            message.in_trouble().not_before = now + SPOOL_TROUBLE_PAUSE
            self.unremoved.append(message)
            self.say_once(f"{message.id}: sent, but cannot be removed from the queue: {error}")
        else:
            self._index.forget(message)

    def _write(self, message: Queued, verdict: Verdict, now: float) -> None:
        """Let the record, and the spool, agree with the verdict."""
        event = verdict.event
        self._index.happened(message, event)
        self._index.put_back(message, put_off=event.shared)
        try:
            journal.append(self._spool.queue, message.id, event, durable=bool(event.sent_to or event.hand_over))
            if verdict.state == "failed":
                self._spool.fail(message.id)
                usage.has_left(self._spool, message.uid, 1, 0)
                self._index.forget(message)
                self.failed += 1
                self._failed_there += 1
                return
            self._spool.defer(message.id, verdict.next_attempt)
            message.due = verdict.next_attempt
            if event.hand_over:
                self._spool.ask_hand_over(message.id)
        except SpoolError as error:
            self.say_once(str(error))
            if event.hand_over:  # it would be asked for again and again: it goes directly
                self._index.happened(message, event._replace(hand_over=journal.FAILED))
                self._defer(message, 0.0)
            else:
                message.in_trouble().not_before = now + SPOOL_TROUBLE_PAUSE
        self._index.place(message, now)

    def _defer(self, message: Queued, when: float) -> None:
        try:
            self._spool.defer(message.id, when)
            message.due = when
        except SpoolError as error:
            self.say_once(str(error))
