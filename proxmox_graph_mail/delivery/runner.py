"""The queue runner: the one process that sends.

It holds the spool's lock. It takes from the index whose turn it is, sends up to four messages at once, settles each (sent:
unlink; deferred or held: next attempt; failed: failed/), and sleeps until the next attempt is due, a queue ID comes in through
the FIFO, the queue's directory or the settings change, or a signal comes. It leaves when the queue has been empty for a while
(systemd's FIFO starts it again), or, in a single pass, when nothing more is due.

Only the main thread changes the spool. A sender reads one message and talks to Graph; being killed at any instant leaves every
message whole, and at worst sends again what was sent but not yet unlinked.
"""

import threading
from concurrent.futures import Executor, Future
from dataclasses import replace

from proxmox_graph_mail.delivery.attempt import Delivery, attempt
from proxmox_graph_mail.delivery.choice import SENDERS, choose, may_go
from proxmox_graph_mail.delivery.configuration import REREAD, SETTINGS, Configuration
from proxmox_graph_mail.delivery.events import Events
from proxmox_graph_mail.delivery.fold import Fold
from proxmox_graph_mail.delivery.index import DEATHS, Index
from proxmox_graph_mail.delivery.newcomers import IN_PARTS, Newcomers
from proxmox_graph_mail.delivery.pace import WRITE_PAUSE, Pace
from proxmox_graph_mail.delivery.queued import Queued
from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.delivery.settlement import SPOOL_TROUBLE_PAUSE, SYNC_PAUSE, Settlement
from proxmox_graph_mail.delivery.surroundings import Lookout, Surroundings
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.spool.ledger import Ledger
from proxmox_graph_mail.spool.store import AT_ONCE, Spool

LOOK_AFTER = 60.0  # seconds of work after which the spool is looked after, if the queue is not empty before
PACE_LOOK = 60.0  # seconds after which what waits for the mailbox's daily limit is looked at again
LONGEST_SLEEP = 600.0  # seconds; a sleep is measured by a clock that nobody sets, the next attempt by one that somebody may


class Runner:
    """Passes over the queue, until there is nothing left to do."""

    def __init__(
        self, spool: Spool, configuration: Configuration, events: Events, stop: threading.Event,
        world: Surroundings,
    ) -> None:  # fmt: skip
        self._spool = spool
        self._configuration = configuration
        self._events = events
        self._stop = stop
        self._clock = world.clock
        self._senders = world.senders
        self._supervision, self._observers = world.supervision, world.observers
        self._lookout = Lookout(spool, world)
        self._index = Index(spool)
        self._pace = Pace(Ledger(spool.root), world.clock)
        self._settlement = Settlement(spool, self._index, configuration, world, self._pace)
        self._in_flight: dict[Future[Delivery], Queued] = {}
        self._everything = False  # is to be tried now, whatever its time
        self._changed = False  # somebody did something to the queue's directory
        self._fold = Fold(self._pace.ledger)
        self._newcomers = Newcomers(spool, self._index, self._settlement, configuration, self._fold)
        self._hurry = self._once = False  # what is gathered goes now
        self._all_wait = False  # whatever is ready waits for a limit
        self._mended = False  # the settings are not those of the first reading, or an admin says that something was mended

    @property
    def failed(self) -> int:
        """How many messages failed so far."""
        return self._settlement.failed

    def run(self, *, once: bool = False, idle: float = 300.0) -> int:
        """Work until idle (or, with `once`, until nothing is due); return how many messages remain in the queue."""
        with self._senders(SENDERS) as senders:
            self._once = once
            self._begin(once=once)
            busy = self._clock()
            while not self._stop.is_set():
                self._supervision.alive()
                self._collect()
                self._notice()
                self._look()
                self._dispatch(senders)
                self._settlement.round_ends()
                now = self._clock()
                self._pace.note(now, self._index.waiting() if self._blocked(now) is None else [], users=self._all_wait)
                if len(self._index):
                    busy = now
                elif self._observers.alarm is not None:
                    self._observers.alarm.idle()
                waiting = self._in_flight or self._has_work(now)
                if not waiting:
                    self._lookout.look_after(once=once)
                    if now - busy >= idle or (once and self._token_wait(now) is None):
                        break
                self._lookout.look_after(once=once, patience=LOOK_AFTER)
                self._tell()
                if not self._index.reading() and (self._in_flight or not waiting):  # else there is more to read, or to dispatch
                    self._wait(self._sleep(now, busy + idle))
            self._finish()
        self._scan()
        self._settlement.round_ends(last=True)
        self._pace.note(self._clock(), self._index.waiting(), last=True)
        self._index.suspected.close()
        return len(self._index)

    def _finish(self) -> None:
        """A send that is under way is left to finish, and its outcome is settled."""
        self._supervision.stopping()
        self._collect()
        while self._in_flight:
            self._wait(None)
            self._supervision.alive()
            self._collect()

    def has_work(self) -> bool:
        """Is anything due that this runner could do something about now?"""
        self._scan()
        self._index.advance(now := self._clock())
        while self._index.reading():
            self._index.advance(now)
        return self._has_work(now)

    def _begin(self, *, once: bool) -> None:
        self._events.news()  # the scan sees what it tells of
        self._newcomers.recover()
        self._scan()
        self._everything = self._lookout.woke_elsewhere()
        if once:
            self._configuration.refresh()  # else the first refresh releases what an earlier runner held
            self._note_settings()
        self._supervision.ready()

    def _notice(self) -> None:
        """What may have happened since the last look: the clock set, an admin's word, other settings."""
        urged, set_back = self._events.urged(), self._lookout.clock_was_set_back()
        if set_back or urged or self._everything:
            self._everything = False
            self._settlement.release(everything=True)
        urge = self._spool.take_urge()
        self._pace.off = (self._pace.off and len(self._index) > 0) or urge == AT_ONCE
        self._hurry = self._hurry or urge is not None or urged or set_back
        if urge is not None or urged:
            self._configuration.invalidate()
            self._mended = True
            self._scan()  # an admin may have changed many times
        if not self._in_flight and self._configuration.refresh():
            self._mend()
        if (relay := self._configuration.relay) is not None:
            self._pace.obey(relay.policy)
            self._fold.rule = None if self._pace.off else relay.policy.digest

    def _mend(self) -> None:
        """The settings may be others, or an admin says that something was mended: ask again what was refused."""
        if (relay := self._configuration.relay) is not None:
            relay.mailbox.forget_refusals()
            if self._mended:
                relay.mailbox.forget_permissions()
        self._mended = True  # a later reading means that the settings changed
        self._newcomers.look_again()
        self._settlement.release()
        self._note_settings()

    def _note_settings(self) -> None:
        """Settings that cannot be read hold everything."""
        suspension = self._settlement.suspension
        if (refusal := self._configuration.refusal()) is not None:
            now = self._clock()
            suspension.hold(refusal, now, now)
        elif suspension.outcome is not None and suspension.outcome.code == SETTINGS:
            self._settlement.release()

    def _look(self) -> None:
        """Let the index know what is new, and what is due."""
        changed, told = self._events.news()
        self._changed = self._changed or changed
        now = self._clock()
        self._index.look(told, now)
        if self._index.scan_due(changed=self._changed) <= 0:
            self._scan()
        self._index.advance(now)

    def _scan(self) -> None:
        self._changed = False
        try:
            self._index.scan()
        except SpoolError as error:
            self._settlement.say_once(str(error))

    def _blocked(self, now: float) -> Outcome | None:
        """Why nothing is to be sent now."""
        return self._configuration.refusal() or self._settlement.suspension.active(now)

    def _has_work(self, now: float) -> bool:
        """Is there more to be done at once?"""
        if self._index.reading() or self._index.newly_ready or self._index.removed_digests:
            return True
        return self._blocked(now) is None and not self._all_wait and may_go(self._index, self._pace, now)

    def _settled_in(self) -> bool:
        """Is everything read that is there, and looked at?"""
        return not (self._index.reading() or self._index.newly_ready)

    def _token_wait(self, now: float) -> float | None:
        """Seconds until something goes that waits for nothing but the mailbox's pace."""
        return None if self._blocked(now) is not None else self._pace.token_wait(now, self._index.waiting())

    def _sleep(self, now: float, idle_end: float) -> float | None:
        """Seconds until a message is due by the clock, or idling ends; None to wait for a sender to finish."""
        times = [self._index.next_time(now), self._index.scan_due(changed=True) if self._changed else None]
        if self._configuration.relay is None:
            times.append(REREAD)
        elif self._index.ready() and self._blocked(now) is not None:
            times.append(self._settlement.suspension.until - now)
        elif self._index.ready():
            times.append(self._token_wait(now) or PACE_LOOK)
        if self._blocked(now) is None:
            times.append(self._fold.next_time(now))
        if self._observers.alarm is not None:
            times.append(self._observers.alarm.look(now))
        if self._settlement.unremoved:
            times.append(SPOOL_TROUBLE_PAUSE)
        if self._settlement.unsynced or self._pace.unwritten:
            times.append(SYNC_PAUSE if self._settlement.unsynced else WRITE_PAUSE)
        if not self._in_flight:
            times.append(LONGEST_SLEEP if len(self._index) else max(idle_end - now, 0.0))
        return min((time for time in times if time is not None), default=None)

    def _wait(self, seconds: float | None) -> None:
        """Sleep until something happens, no longer than `seconds`, nor than systemd waits for a sign of life."""
        limits = [limit for limit in (seconds, self._supervision.interval) if limit is not None]
        self._events.wait(min(limits) if limits else None)

    def _dispatch(self, senders: Executor) -> None:
        now = self._clock()
        self._newcomers.release_members()
        if self._configuration.changed():
            return  # those in flight finish on the old connection, then the settings are read again
        if (refusal := self._blocked(now)) is not None:
            if self._index.ready() and self._observers.alarm is not None:
                self._observers.alarm.refused(refusal, now)
            self._newcomers.look(now, suspended=True)
            return
        self._newcomers.look(now, suspended=False)
        if self._settled_in():
            self._newcomers.make_digests(now, everything=self._hurry or self._once)
            self._hurry = False
        relay = self._configuration.relay
        flying, suspension, self._all_wait = self._in_flight.values(), self._settlement.suspension, False
        while relay is not None and (message := choose(self._index, flying, suspension, self._pace, now)) is not None:
            decision = self._newcomers.root_part(message, now)
            if decision.part in IN_PARTS:
                self._settlement.settle_root_part(message, decision)
            elif message.trouble.deaths >= DEATHS:
                reason = f"the queue runner crashed {DEATHS} times while sending this message (out of memory? see journalctl)"
                message.in_trouble().deaths = DEATHS - 1  # when its time has come, it is tried once more
                self._settlement.settle(message, Delivery(Outcome(Status.HELD, reason, "Deadly")))
            else:
                self._send(message, replace(relay, book=decision.book(relay.book)), senders)
        self._all_wait = not self._in_flight

    def _send(self, message: Queued, relay: Relay, senders: Executor) -> None:
        self._pace.took(message.lane, message.uid, self._clock())
        if probing := self._settlement.suspension.probing:
            self._settlement.suspension.probed.append(message.id)
        relay.mailbox.be_patient(patient=not probing)
        self._index.suspected.write([*self._in_flight.values(), message])
        future = senders.submit(attempt, self._spool, message.id, relay, message.history, self._clock)
        self._in_flight[future] = message
        future.add_done_callback(lambda _: self._events.notify())

    def _collect(self) -> None:
        for future in [future for future in self._in_flight if future.done()]:
            message = self._in_flight.pop(future)
            try:
                delivery = future.result()
            except FileNotFoundError as error:
                if self._spool.due(message.id) is None:
                    self._pace.settled(message.lane, message.uid, 0, Status.TRANSIENT, self._clock())
                    self._index.forget(message)  # an admin removed it, or the whole queue is gone
                    continue
                reason = f"a file of this program is missing: {error.filename} (is an upgrade running?)"
                delivery = Delivery(Outcome(Status.TRANSIENT, reason, "Missing"))
            except Exception as error:  # noqa: BLE001 - a mail that breaks us must not stop the others, nor be lost
                reason = f"this program failed on this message ({type(error).__name__}); please report this"
                delivery = Delivery(Outcome(Status.TRANSIENT, reason, type(error).__name__))
            self._supervision.alive()
            self._index.suspected.outlived(message)
            newly = len(set(delivery.sent_to).difference(message.history.sent_to))
            self._pace.settled(message.lane, message.uid, newly, delivery.outcome.status, self._clock())
            self._settlement.settle(message, delivery)
        self._index.suspected.write(self._in_flight.values())

    def _tell(self) -> None:
        """What `systemctl status` shows."""
        refusal = self._blocked(self._clock())
        alarm = self._observers.alarm.text if self._observers.alarm is not None else ""
        trouble = alarm or self._configuration.error or self._settlement.suspension.words(self._clock())
        line = self._observers.report.line(self._index.tally.states, self._settlement.count_failed(), trouble, refusal)
        self._supervision.status(line)
