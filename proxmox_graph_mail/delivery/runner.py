"""The queue runner: the one process that sends.

It holds the spool's lock. It walks through the index, sends up to four messages at once (Exchange Online allows an app four
concurrent requests per mailbox), settles each (sent: unlink; deferred or held: next attempt; failed: failed/), and sleeps until
the next attempt is due, a byte comes in through the FIFO, the settings change, or a signal comes. It leaves when the queue has
been empty for a while (systemd's FIFO starts it again), or, in a single pass, when nothing more is due.

Only the main thread changes the spool. A sender reads one message and talks to Graph; being killed at any instant leaves every
message whole, and at worst sends again what was sent but not yet unlinked.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from proxmox_graph_mail.delivery.attempt import Delivery, attempt
from proxmox_graph_mail.delivery.configuration import REREAD, Configuration
from proxmox_graph_mail.delivery.events import Events
from proxmox_graph_mail.delivery.index import DEATHS, Index, Queued
from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.delivery.settlement import Settlement
from proxmox_graph_mail.delivery.surroundings import Lookout, Surroundings
from proxmox_graph_mail.delivery.turns import in_turns
from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.root_mail.decision import NOTHING, Decision, RootPart, decide
from proxmox_graph_mail.spool.store import Spool

SENDERS = 4
"""Messages in flight at once (Graph, "Throttling limits", Outlook: 4 concurrent requests per app and mailbox)."""
LARGE = 10 << 20
"""Bytes of a message from which only one is in hand at a time: taken apart, each takes some five times its size of memory."""
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
        self._supervision, self._observers = world.supervision, world.observers
        self._lookout = Lookout(spool, world)
        self._index = Index(spool)
        self._settlement = Settlement(spool, self._index, configuration, world.observers, clock=world.clock, rng=world.rng)
        self._in_flight: dict[Future[Delivery], Queued] = {}
        self._mended = False  # the settings are not those of the first reading, or an admin says that something was mended

    @property
    def failed(self) -> int:
        """How many messages failed so far."""
        return self._settlement.failed

    def run(self, *, once: bool = False, idle: float = 300.0) -> int:
        """Work until idle (or, with `once`, until nothing is due); return how many messages remain in the queue."""
        with ThreadPoolExecutor(SENDERS, thread_name_prefix="sender") as senders:
            self._begin(once=once)
            busy = self._clock()
            while not self._stop.is_set():
                self._supervision.alive()
                self._collect()
                self._notice(once=once)
                self._scan()
                self._dispatch(senders)
                self._tell()
                now = self._clock()
                if len(self._index) or self._in_flight:
                    busy = now
                elif self._observers.alarm is not None:
                    self._observers.alarm.idle()
                waiting = self._in_flight or self._due(now)
                if not waiting and (once or now - busy >= idle):
                    break
                if self._in_flight or not waiting:  # else nothing was dispatched because the settings changed this instant
                    self._wait(self._sleep(now, busy + idle))
            self._finish()
        self._scan()
        self._index.close()
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
        return bool(self._due(self._clock()))

    def _begin(self, *, once: bool) -> None:
        self._lookout.look_after(once=once)
        self._scan()
        for message in [message for message in self._index if message.deaths >= DEATHS]:
            reason = f"the queue runner crashed {DEATHS} times while sending this message (out of memory? see journalctl)"
            self._settlement.settle(message, Delivery(Outcome(Status.HELD, reason, "Deadly")))
        if once:
            self._configuration.refresh()  # else the first refresh releases what an earlier runner held
        self._supervision.ready()

    def _notice(self, *, once: bool) -> None:
        """What may have happened since the last look: a day gone by, the clock set, an admin's word, other settings."""
        self._lookout.look_after(once=once)
        if self._lookout.clock_was_set_back():
            self._settlement.release(everything=True)
        if self._spool.take_urge() or self._events.urged():
            self._configuration.invalidate()
            self._mended = True
        if not self._in_flight and self._configuration.refresh():
            self._mend()

    def _mend(self) -> None:
        """The settings may be others, or an admin says that something was mended: ask again what was refused."""
        if (relay := self._configuration.relay) is not None:
            relay.mailbox.forget_refusals()
            if self._mended:
                relay.mailbox.forget_permissions()
        self._mended = True  # a later reading means that the settings changed
        for message in self._index:
            message.not_roots = False  # who is to have which mail may be another
        self._settlement.release()

    def _scan(self) -> None:
        try:
            self._index.scan()
        except SpoolError as error:
            self._settlement.say_once(str(error))
            return
        for message in [message for message in self._index if message.sent]:
            self._settlement.remove(message)

    def _due(self, now: float) -> list[Queued]:
        flying = {message.id for message in self._in_flight.values()}
        return [message for message in self._index if message.id not in flying and message.is_due(now)]

    def _sleep(self, now: float, idle_end: float) -> float | None:
        """Seconds until a message is due by the clock, or idling ends; None to wait for a sender to finish."""
        flying = {message.id for message in self._in_flight.values()}
        times = [message.waits_until() for message in self._index if message.id not in flying]
        future = [when - now for when in times if when > now]
        if self._configuration.relay is None:
            future.append(REREAD)
        if self._observers.alarm is not None and (alarm := self._observers.alarm.look(now)) is not None:
            future.append(alarm)
        if self._in_flight:
            return min(future) if future else None
        return min([*future, LONGEST_SLEEP] if len(self._index) else [max(idle_end - now, 0.0)])

    def _wait(self, seconds: float | None) -> None:
        """Sleep until something happens, no longer than `seconds`, nor than systemd waits for a sign of life."""
        limits = [limit for limit in (seconds, self._supervision.interval) if limit is not None]
        self._events.wait(min(limits) if limits else None)

    def _dispatch(self, senders: ThreadPoolExecutor) -> None:
        now = self._clock()
        if self._configuration.changed():
            return  # those in flight finish on the old connection, then the settings are read again
        for message in in_turns(self._due(now), probing=self._settlement.suspension.probing):
            decision = self._root_part(message, now)
            if decision.part in (RootPart.ASK, RootPart.WHOLE):
                self._settlement.settle_root_part(message, decision)
                continue
            relay, refusal = self._configuration.relay, self._settlement.suspension.active(now)
            if relay is None:
                refusal = Outcome(Status.HELD, self._configuration.error, "Settings", shared=True)
            if relay is None or refusal is not None:
                self._put_off(message, refusal or Outcome(Status.HELD))
            elif self._is_full(message):
                return
            elif message.size <= LARGE or all(other.size <= LARGE for other in self._in_flight.values()):
                self._send(message, replace(relay, book=decision.book(relay.book)), senders)

    def _is_full(self, message: Queued) -> bool:
        """Is nothing more to be begun? One message probes a suspended queue, and one of which a runner may have died goes
        alone, so that it is known which of them it was."""
        flying = self._in_flight.values()
        if len(flying) >= (1 if self._settlement.suspension.probing else SENDERS):
            return True
        return bool(flying) and any(one.deaths for one in (message, *flying))

    def _root_part(self, message: Queued, now: float) -> Decision:
        book = self._configuration.book
        if book is None or message.not_roots:
            return NOTHING
        decision = decide(self._spool, message.id, message.history, book, now)
        message.not_roots = decision.part is RootPart.NONE
        if decision.part is RootPart.GIVEN_UP:
            self._spool.withdraw_hand_over(message.id)
        return decision

    def _send(self, message: Queued, relay: Relay, senders: ThreadPoolExecutor) -> None:
        if self._settlement.suspension.probing:
            message.probes += 1
        message.put_off = False
        self._index.write_in_flight([*self._in_flight.values(), message])
        future = senders.submit(attempt, self._spool, message.id, relay, message.history, self._clock)
        self._in_flight[future] = message
        future.add_done_callback(lambda _: self._events.notify())

    def _put_off(self, message: Queued, refusal: Outcome) -> None:
        try:
            envelope, _ = self._spool.envelope(message.id)
            self._settlement.put_off(message, refusal, envelope.arrived, envelope.recipients)
        except (DataError, SpoolError, OSError):
            self._settlement.put_off(message, refusal, 0.0, ())  # damaged: seen when it is tried

    def _collect(self) -> None:
        for future in [future for future in self._in_flight if future.done()]:
            message = self._in_flight.pop(future)
            try:
                delivery = future.result()
            except FileNotFoundError as error:
                if self._spool.due(message.id) is None:
                    self._index.forget(message)  # an admin removed it, or the whole queue is gone
                    continue
                reason = f"a file of this program is missing: {error.filename} (is an upgrade running?)"
                delivery = Delivery(Outcome(Status.TRANSIENT, reason, "Missing"))
            except Exception as error:  # noqa: BLE001 - a mail that breaks us must not stop the others, nor be lost
                reason = f"this program failed on this message ({type(error).__name__}); please report this"
                delivery = Delivery(Outcome(Status.TRANSIENT, reason, type(error).__name__))
            self._supervision.alive()
            message.deaths = 0
            self._settlement.settle(message, delivery)
            self._index.write_in_flight(self._in_flight.values())

    def _tell(self) -> None:
        """What `systemctl status` shows."""
        try:
            failed = len(self._spool.scan_failed())
        except SpoolError as error:
            self._settlement.say_once(str(error))
            failed = 0
        trouble = (self._observers.alarm.text if self._observers.alarm is not None else "") or self._configuration.error
        self._supervision.status(self._observers.report.line(self._index.states(), failed, trouble))
