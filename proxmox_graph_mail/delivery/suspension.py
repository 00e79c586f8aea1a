"""When one message meets a refusal that every other would meet too, the others are not sent to meet it.

    clear      everything due is tried
    suspended  until a time: what is due keeps its place, and Graph is not asked
    probing    that time has come: one message is tried; its success clears, its failure suspends for longer

So a wrong secret, a missing permission, throttling or a dead line costs one request a round, however long the queue; and three
uncertain answers in a row do the same, for each further one may send a mail twice. It is written down once (spool/suspended.py),
and a runner that starts while the queue is suspended probes first.
"""

import time
from collections import deque

from proxmox_graph_mail import log
from proxmox_graph_mail.delivery import schedule
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.graph.outcome import NOT_GRAPH, Outcome, Status
from proxmox_graph_mail.spool import suspended
from proxmox_graph_mail.spool.journal import ROUNDS
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.suspended import Suspended

UNCERTAIN_IN_A_ROW = 3
"""Uncertain answers in a row, of whichever messages, after which the queue is suspended."""
PROBED = 100  # messages that were the probe lately: another one is, as long as there is one


class Suspension:
    """The state above. Times are seconds since the epoch."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._written = suspended.read(spool)
        self.outcome: Outcome | None = None
        self.until = 0.0
        self.rounds = 0
        self.probed: deque[str] = deque(maxlen=PROBED)
        self._uncertain = 0
        self._not_graph = ""  # the message that met what did not come from Graph
        if self._written.state:  # an earlier runner's: one message asks whether it still holds
            status = Status.HELD if self._written.state == "held" else Status.TRANSIENT
            self.outcome = Outcome(status, self._written.reason, self._written.code, shared=True)

    def concerns_all(self, queue_id: str, outcome: Outcome) -> bool:
        """Does the outcome of a message's attempt say that the others are not to be tried now? What did not come from Graph
        concerns that message alone, until another one meets it with none sent between them."""
        if outcome.code == NOT_GRAPH:
            self._not_graph = self._not_graph or queue_id
            return self._not_graph != queue_id
        if outcome.status is Status.SENT:
            self._not_graph = ""
        if outcome.status is Status.UNCERTAIN:
            self._uncertain += 1
            return outcome.shared or self.probing or self._uncertain >= UNCERTAIN_IN_A_ROW
        if not outcome.shared:
            self._uncertain = 0
        return outcome.shared

    def note(self, outcome: Outcome, now: float, random: float) -> bool:
        """A message met `outcome`, which concerns all; does a round begin? Those that were in flight with it change nothing."""
        if self.outcome is not None and now < self.until:
            return False
        self.rounds += 1
        self.hold(outcome, now, now + schedule.round_delay(outcome.status, self.rounds, outcome.retry_after, random))
        return True

    def hold(self, outcome: Outcome, now: float, until: float) -> None:
        """Suspend the queue for `outcome` until then, and write it down."""
        self.outcome, self.until = outcome, until
        held = outcome.status is Status.HELD
        rounds = tuple([*self._written.rounds, now][-ROUNDS:])
        last_held = now if held else self._written.last_held
        self._write(Suspended("held" if held else "deferred", outcome.reason, outcome.code, now, until, last_held, rounds))

    def clear(self, now: float) -> bool:
        """Graph takes mail again, or the settings changed; was anything suspended?"""
        was = self.outcome is not None
        self.outcome, self.until, self.rounds = None, 0.0, 0
        self._uncertain, self._not_graph = 0, ""
        self.probed.clear()
        if self._written.state:
            last_held = now if self._written.state == "held" else self._written.last_held
            self._write(Suspended(last_held=last_held, rounds=self._written.rounds))
        return was

    def active(self, now: float) -> Outcome | None:
        """Why nothing is to be tried now; None if something may be."""
        return self.outcome if now < self.until else None

    def words(self, now: float) -> str:
        """`suspended until 07:45:12`; empty if it is not."""
        return f"suspended until {time.strftime('%H:%M:%S', time.localtime(self.until))}" if self.until > now else ""

    @property
    def probing(self) -> bool:
        """Is only one message to be tried?"""
        return self.outcome is not None

    @property
    def last_held(self) -> float:
        """When the queue as a whole was last held: such time does not count as a message's age."""
        return self._written.last_held

    @property
    def round_times(self) -> tuple[float, ...]:
        """When the last rounds met a refusal: each was a chance for every message."""
        return self._written.rounds

    def _write(self, now: Suspended) -> None:
        before, self._written = self._written, now
        try:
            suspended.write(self._spool, now)
        except SpoolError as error:
            if before.state != now.state:
                log.line(f"{error}; the queue's listing may give no reason, or an old one", log.WARNING)
