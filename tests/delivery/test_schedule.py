"""The schedule: monotone, bounded, never shortened by Retry-After."""

from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.delivery.schedule import (
    CAP,
    FIRST,
    JITTER,
    MIN_ROUNDS,
    ROUND_CAP,
    ROUND_FIRST,
    delay,
    expired,
    round_delay,
)
from proxmox_graph_mail.graph.outcome import Status
from proxmox_graph_mail.spool.store import FARTHEST

states = st.sampled_from([Status.TRANSIENT, Status.UNCERTAIN, Status.HELD])
chance = st.floats(0, 1, exclude_max=True)


@given(states, st.integers(1, 10_000), st.floats(0, 1e9), chance, chance)
def test_waits_grow_and_are_bounded(status: Status, attempts: int, retry_after: float, one: float, two: float) -> None:
    """From attempt to attempt at least as long (jitter apart, once the cap is reached), never above FARTHEST."""
    now, then = delay(status, attempts, 0, one), delay(status, attempts + 1, 0, two)
    assert FIRST[status] <= now <= CAP[status] * (1 + JITTER)
    assert then >= now or now >= CAP[status]
    assert now <= delay(status, attempts, retry_after, one) <= FARTHEST


@given(states, st.integers(1, 100), st.floats(0, FARTHEST), chance)
def test_retry_after_only_lengthens(status: Status, attempts: int, retry_after: float, random: float) -> None:
    """The later of the two."""
    assert delay(status, attempts, retry_after, random) == max(delay(status, attempts, 0, random), retry_after)


@given(st.sampled_from([Status.TRANSIENT, Status.UNCERTAIN]), st.integers(1, 100), st.floats(0, 3600), chance)
def test_a_queue_s_rounds_are_short_and_spread_and_retry_after_is_their_floor(
    status: Status, rounds: int, retry_after: float, random: float
) -> None:
    """So that a thousand nodes do not keep one appointment."""
    wait = round_delay(status, rounds, retry_after, random)
    assert retry_after + 0.5 * ROUND_FIRST <= wait <= retry_after + 1.5 * ROUND_CAP
    assert round_delay(status, rounds, retry_after, 0) < round_delay(status, rounds, retry_after, 0.5) < retry_after + 181


def test_an_uncertain_mail_is_never_tried_again_at_once() -> None:
    """Five minutes at the least."""
    assert delay(Status.UNCERTAIN, 1, 0, 0) >= 300


def test_a_mail_is_given_up_for_its_age_alone() -> None:
    """Not for time in which it was held, and not before it had its chances."""
    day = 86400.0

    def too_old(age: float, held: float | None = None, rounds: int = MIN_ROUNDS) -> bool:
        last_held = 1e9 + held if held is not None else 0.0
        return expired(arrived=1e9, last_held=last_held, now=1e9 + age, lifetime=5 * day, rounds=rounds)

    assert not too_old(4.9 * day)
    assert too_old(5.1 * day)
    assert not too_old(5.1 * day, held=3 * day)
    assert too_old(8.1 * day, held=3 * day)
    assert not too_old(50 * day, rounds=MIN_ROUNDS - 1)
