"""How fast mail may go, and whose: the mailbox's rate a minute, and its recipients in 24 hours.

Exchange Online sends 30 messages a minute for a mailbox, and 10,000 recipients in 24 hours; Graph's 202 says nothing of either
("Exchange Online limits"). What it has accepted waits there in order of arrival, so it is kept here until its turn comes.

A token bucket for the mailbox holds one minute's worth. Of it KEPT are alarms' alone: other mail has a bucket of its own, with
that much less, and takes a token of both; so has a user's mail that calls itself an alarm, with KEPT. Recipients are counted in
the ledger (spool/ledger.py): near the limit users' mail waits, at the limit all but alarms.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from proxmox_graph_mail.delivery.digest_rule import DigestRule
from proxmox_graph_mail.graph.outcome import Status
from proxmox_graph_mail.spool.lane import USERS, Lane
from proxmox_graph_mail.spool.ledger import HOUR, Ledger

KEPT = 5  # messages a minute that are alarms' alone; at most half of the rate
ROUNDING = 1e-4  # of a token
STARVED = 900.0  # seconds after which a lane goes first that had no turn
NEAR, SAID = 0.9, 0.8  # of the recipients in 24 hours: from where users' mail waits, and from where it is said
SIGN_OF_LIFE = 300.0  # seconds after which it is written all the same while something waits
WRITE_PAUSE = 1.0  # seconds between two writes of the ledger


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say: `rate` in messages a minute, `daily` and `user_daily` in recipients in 24 hours; 0: any number."""

    rate: int = 0
    daily: int = 0
    user_daily: int = 0
    digest: DigestRule | None = None


ANY_PACE = Policy()


class Bucket:
    """Tokens that come back at `rate` a minute, up to a minute's worth."""

    def __init__(self, rate: float, level: float, at: float) -> None:
        self.rate, self.most = rate, max(rate, 1.0)
        self.level = min(level, self.most)
        self._at = at

    def refill(self, now: float) -> None:
        """Those that came back since."""
        self.level = min(self.most, self.level + max(now - self._at, 0.0) * self.rate / 60)
        self._at = now

    def wait(self) -> float:
        """Seconds until there is one; none for what only rounding lacks."""
        return (1 - self.level) * 60 / self.rate if self.level < 1 - ROUNDING else 0.0


class Pace:
    """Which lanes may go now. For the queue runner's main thread; times by the host's clock, which somebody may set."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self.ledger = ledger
        self._clock = clock
        self._policy = Policy()
        self._buckets: tuple[Bucket, Bucket, Bucket] | None = None
        self._served: dict[Lane, float] = {}
        self._on_the_way: Counter[int] = Counter()  # messages, by whose they are; each is to one recipient at least
        self._dirty = False
        self._written = 0.0
        self.unwritten = False
        """Is there something to be written in a moment?"""
        self.off = False
        """Does an admin want all of it at once?"""

    def obey(self, policy: Policy) -> None:
        """From now on."""
        if policy.rate != self._policy.rate or (policy.rate and self._buckets is None):
            self._buckets = self._made(policy.rate) if policy.rate else None
        self._policy = policy
        self.ledger.limit = policy.daily

    def _made(self, rate: int) -> tuple[Bucket, Bucket, Bucket]:
        kept = min(KEPT, rate // 2)
        rates, now = (float(rate), float(rate - kept), kept or rate / 2), self._clock()
        at, *levels = self.ledger.pace if len(self.ledger.pace) == 4 and self.ledger.pace[0] <= now + 60 else (now, *rates)
        made = [Bucket(rate, level, at) for rate, level in zip(rates, levels, strict=True)]
        return made[0], made[1], made[2]

    def lanes(self, now: float, ready: Callable[[Lane], bool]) -> list[Lane]:
        """The lanes that may go now, in order: one that had no turn for too long comes first."""
        for lane in Lane:
            if not ready(lane) or lane not in self._served:
                self._served[lane] = now
        starved = [lane for lane in Lane if now - self._served[lane] > STARVED]
        return [lane for lane in dict.fromkeys((*starved, *Lane)) if self._refusal(lane, now) is None]

    def took(self, lane: Lane, uid: int, now: float) -> None:
        """A message of this lane, and of this user, is on its way."""
        self._served[lane] = now
        self._on_the_way[uid] += 1
        for bucket in self._of(lane):
            bucket.level = max(bucket.level - 1, 0.0)  # what an admin sent at once is no debt of the next alarm's
        self._dirty = True

    def settled(self, lane: Lane, uid: int, newly: int, status: Status, now: float) -> None:
        """So many more have a mail of this user. What was certainly not sent took nothing of the mailbox's rate."""
        self._on_the_way[uid] -= 1
        if newly:
            self.ledger.add(uid, newly, now)
            self._dirty = True
        elif status is not Status.UNCERTAIN:
            for bucket in self._of(lane):
                bucket.level = min(bucket.level + 1, bucket.most)

    def over(self, uid: int, now: float) -> bool:
        """Has this user's mail gone to as many as it may?"""
        limit = self._policy.user_daily
        return bool(limit) and not self.off and self.ledger.total(now, uid) + self._on_the_way[uid] >= limit

    def token_wait(self, now: float, waiting: list[Lane]) -> float | None:
        """Seconds until one of these lanes may go for its tokens' sake; None if it is not tokens that they wait for."""
        waits = [self._tokens(lane, now) for lane in waiting if self._day_s_limit(lane, now) is None]
        return min((wait for wait in waits if wait > 0), default=None)

    def note(self, now: float, waiting: list[Lane], *, users: bool = False, last: bool = False) -> None:
        """Write down what was sent, and why each of these lanes waits (`users`: nothing goes, for users are over their limit); a
        moment later is soon enough. While something waits it is written again and again: so it is seen that this runner lives."""
        waits = {lane.number: told for lane in reversed(waiting) if (told := self._refusal(lane, now)) is not None}
        if users and Lane.USER in waiting and self._policy.user_daily:
            reason = f"a user's mail went to {self._policy.user_daily} recipients in 24 hours (USER_DAILY_RECIPIENTS)"
            waits.setdefault(Lane.USER.number, ((now // HOUR + 1) * HOUR, reason))
        if waits:
            self.ledger.waited = now
        if waits != self.ledger.waits:
            self.ledger.waits, self._dirty = waits, True
        changed = self._dirty or self.ledger.gathered or (bool(waits) and not 0 <= now - self._written < SIGN_OF_LIFE)
        self.unwritten = changed and not last and 0 <= now - self._written < WRITE_PAUSE
        if changed and not self.unwritten:
            self._dirty, self.ledger.gathered, self._written = False, False, now
            if self._buckets is not None:
                self.ledger.pace = (now, *(bucket.level for bucket in self._buckets))
            self.ledger.write(now)

    def _of(self, lane: Lane) -> tuple[Bucket, ...]:
        if self._buckets is None:
            return ()
        whole, others, users = self._buckets
        return (whole,) if lane is Lane.ALARM else (whole, users) if lane is Lane.USERS_ALARM else (whole, others)

    def _tokens(self, lane: Lane, now: float) -> float:
        """Seconds until this lane has its tokens."""
        if self.off:
            return 0.0
        for bucket in self._of(lane):
            bucket.refill(now)
        return max((bucket.wait() for bucket in self._of(lane)), default=0.0)

    def _refusal(self, lane: Lane, now: float) -> tuple[float, str] | None:
        """Until when a lane waits (0: a moment), and why; None if it may go."""
        if (told := self._day_s_limit(lane, now)) is not None:
            return told
        if self._tokens(lane, now) > 0:
            return 0.0, f"the mailbox takes {self._policy.rate} a minute"
        return None

    def _day_s_limit(self, lane: Lane, now: float) -> tuple[float, str] | None:
        """Until when a lane waits for the recipients of 24 hours, and why; None if it does not."""
        daily = self._policy.daily
        if not daily or self.off or lane is Lane.ALARM:
            return None
        limit = daily * NEAR if lane in USERS else daily
        if (total := self.ledger.total(now)) + self._on_the_way.total() < limit:
            return None
        whose = "; users' mail waits, so that root's goes on" if total < daily else ""
        return self.ledger.below(int(limit), now), f"{total} of the mailbox's {daily} recipients in 24 hours are used{whose}"
