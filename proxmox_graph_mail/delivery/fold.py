"""What comes again and again is gathered, and goes as one mail (DIGEST; delivery/digest.py makes it).

Counted is what is alike (delivery/alike.py) by when it was submitted: the first few within an hour go as they are, further ones
wait for one another until it was quiet for QUIET seconds, or the first of them has waited for a quarter of an hour. The counts
are in the ledger, so that a runner which starts goes on with them. An alarm is never gathered.
"""

from dataclasses import dataclass, field

from proxmox_graph_mail.delivery.digest_rule import MEMBERS, NOTIFICATIONS, QUIET, DigestRule
from proxmox_graph_mail.delivery.queued import Queued
from proxmox_graph_mail.spool.lane import Lane
from proxmox_graph_mail.spool.ledger import Ledger
from proxmox_graph_mail.spool.store import arrival

COUNTED = NOTIFICATIONS + 1  # times of submission that are remembered of what is alike
FORGET_EVERY = 1000  # messages that were looked at, after which what is long past is forgotten


@dataclass(slots=True)
class Gathered:
    """Messages that are alike, and wait for one another. `begun` and `last`: when the first and the last were submitted."""

    begun: float
    last: float
    messages: list[Queued] = field(default_factory=list)


class Fold:
    """What is gathered now. For the queue runner's main thread."""

    def __init__(self, ledger: Ledger) -> None:
        self.rule: DigestRule | None = None
        self._ledger = ledger
        self._groups: dict[int, Gathered] = {}
        self._looked_at = 0

    def takes(self, message: Queued, now: float) -> bool:
        """Does a message that is ready wait for others like it? Each is to be asked for once."""
        rule, history = self.rule, message.history
        if rule is None or not message.alike or message.lane.number == 1 or message.trouble.alone:
            return False
        if history.attempts or history.sent_to or history.hand_over or history.retried:
            return False
        times = self._times(message, rule, now)
        number = max(rule.number, NOTIFICATIONS) if message.lane is Lane.NOTIFICATION else rule.number
        if len(times) <= number and message.alike not in self._groups:
            return False
        submitted = min(arrival(message.id), now)
        group = self._groups.setdefault(message.alike, Gathered(submitted, submitted))
        group.last = max(group.last, submitted)
        group.messages.append(message)
        self._ledger.gathered = True
        return True

    def due(self, now: float, *, everything: bool = False) -> list[list[Queued]]:
        """The groups whose time has come, taken out; a large one in several."""
        rule = self.rule
        over = [key for key, group in self._groups.items() if everything or rule is None or self._time(group, rule) <= now
                or len(group.messages) >= MEMBERS]  # fmt: skip
        found = [self._groups.pop(key).messages for key in over]
        return [messages[at : at + MEMBERS] for messages in found for at in range(0, len(messages), MEMBERS)]

    def next_time(self, now: float) -> float | None:
        """Seconds until a group is due; None if there is none."""
        if self.rule is None or not self._groups:
            return None
        return max(min(self._time(group, self.rule) for group in self._groups.values()) - now, 0.0)

    def goes_at(self, message: Queued) -> float:
        """When the group of a message goes at the latest (seconds since the epoch)."""
        group = self._groups[message.alike]
        return group.begun + (self.rule.every if self.rule is not None else 0.0)

    @staticmethod
    def _time(group: Gathered, rule: DigestRule) -> float:
        return min(group.begun + rule.every, group.last + QUIET)

    def _times(self, message: Queued, rule: DigestRule, now: float) -> list[float]:
        """When what is like this message was submitted within the time, this one too."""
        submitted = min(arrival(message.id), now)
        known = self._ledger.alike
        times = [time for time in known.get(message.alike, ()) if submitted - rule.within < time]
        if submitted not in times:
            times.append(submitted)
        known[message.alike] = times = sorted(times)[-COUNTED:]
        self._looked_at += 1
        if self._looked_at % FORGET_EVERY == 0:
            for key in [key for key, past in known.items() if past[-1] < submitted - rule.within]:
                del known[key]
        return times
