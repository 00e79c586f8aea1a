"""When one message meets a refusal that every other would meet too, the others are not sent to meet it.

    clear      everything due is tried
    suspended  until a time: what is due is put off with the same reason, without asking Graph
    probing    that time has come: one message is tried; its success clears, its failure suspends for longer

So a wrong secret, a missing permission or a dead line costs one request a round, however long the queue.
"""

from proxmox_graph_mail.delivery import schedule
from proxmox_graph_mail.graph.outcome import Outcome


class Suspension:
    """The state above. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.until = 0.0
        self.rounds = 0

    def note(self, outcome: Outcome, now: float, random: float) -> None:
        """A message met `outcome`, which is shared. Those that were in flight with it change nothing more."""
        if self.outcome is not None and now < self.until:
            return
        self.rounds += 1
        self.outcome = outcome
        self.until = now + schedule.delay(outcome.status, self.rounds, outcome.retry_after, random)

    def clear(self) -> bool:
        """Graph takes mail again, or the settings changed; was anything suspended?"""
        suspended = self.outcome is not None
        self.outcome, self.until, self.rounds = None, 0.0, 0
        return suspended

    def active(self, now: float) -> Outcome | None:
        """Why nothing is to be tried now; None if something may be."""
        return self.outcome if now < self.until else None

    @property
    def probing(self) -> bool:
        """Is only one message to be tried?"""
        return self.outcome is not None
