"""When a message, or a suspended queue, is tried next. Pure functions of what happened, the clock and a random number.

A message's wait doubles from attempt to attempt up to a cap, with up to a fifth of jitter; Retry-After only lengthens it. It
never shrinks from one attempt to the next, and never exceeds spool.FARTHEST.

A suspended queue makes one request a round. Throttling and a dead line pass by themselves, so its rounds are short; but requests
that Graph refuses count against the mailbox's limit too (10,000 in ten minutes), and a thousand nodes may share that mailbox
without knowing of each other. So the wait is random by a factor of three, and Retry-After is a floor with that wait on top, not
an appointment that all keep. `make fleet` shows what that comes to.
"""

from proxmox_graph_mail.graph.outcome import Status
from proxmox_graph_mail.log import FIRST_RIGHT
from proxmox_graph_mail.spool.journal import History
from proxmox_graph_mail.spool.store import FARTHEST

JITTER = 0.2

FIRST = {Status.TRANSIENT: 60.0, Status.UNCERTAIN: 300.0, Status.HELD: 900.0}
"""Seconds after the first attempt. Uncertain: long enough for a mail on its way to have arrived."""
CAP = {Status.TRANSIENT: 3600.0, Status.UNCERTAIN: 3600.0, Status.HELD: 7200.0}
"""Seconds at most. Held: Exchange's RBAC cache lives for 2 hours and is kept alive by asking more often."""
ROUND_FIRST, ROUND_GROWTH, ROUND_CAP = 8.0, 1.5, 120.0
"""Seconds between the rounds of a queue that is suspended for what passes by itself: the first wait, by how much each is longer,
and the longest."""
ROUND_SPREAD = (0.5, 1.5)
"""…times a random factor between these."""
MIN_ROUNDS = 3
ROUNDS_WITHIN = 86400.0
"""A message is not given up for its age before it was tried or passed over so often within so many seconds: a host that was
off for a week, or whose clock was, must not give its mail up because the network comes up a minute after it."""


def delay(status: Status, attempts: int, retry_after: float, random: float) -> float:
    """Seconds to wait after the `attempts`-th attempt (from 1); `random` is in [0, 1)."""
    doubled = FIRST[status] * float(1 << min(max(attempts, 1) - 1, 16))
    wait = min(doubled, CAP[status]) * (1 + JITTER * random)
    return min(max(wait, retry_after), FARTHEST)


def round_delay(status: Status, rounds: int, retry_after: float, random: float) -> float:
    """Seconds until a suspended queue is probed, after its `rounds`-th round (from 1); `random` is in [0, 1)."""
    if status is Status.HELD:
        return delay(status, rounds, retry_after, random)
    low, high = ROUND_SPREAD
    wait = min(ROUND_FIRST * ROUND_GROWTH ** min(max(rounds, 1) - 1, 30), ROUND_CAP) * (low + (high - low) * random)
    return min(retry_after + wait, FARTHEST)


def since(arrived: float, past: History, now: float) -> float:
    """From when on a message ages: its submission, if the clock was right then; else the first time that a right clock saw it; or
    when an admin took it back."""
    if past.retried and past.begun:
        return past.begun
    return arrived if FIRST_RIGHT <= arrived <= now else past.begun if 0 < past.begun <= now else now


def expired(*, arrived: float, last_held: float, now: float, lifetime: float, rounds: int) -> bool:
    """Is a deferred message too old? The time it was held for the tenant's sake does not count."""
    return rounds >= MIN_ROUNDS and now - max(arrived, last_held) > lifetime
