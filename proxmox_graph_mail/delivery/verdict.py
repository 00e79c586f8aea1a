"""What an attempt's outcome makes of the message: its next state, its next attempt, its log line. Pure functions.

outcome                     state      next attempt
sent                        sent       none: unlinked
transient, uncertain        deferred   by the schedule; too old: failed
held                        held       by the slower schedule; does not age
failed                      failed     none: moved to failed/; a second chance: deferred once
any that is shared          …          when the suspension ends; uncertain: not before its own time
"""

from dataclasses import dataclass, replace
from typing import Any

from proxmox_graph_mail.delivery import schedule
from proxmox_graph_mail.delivery.attempt import Delivery
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.log import duration
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import Event, History
from proxmox_graph_mail.spool.store import arrival

SHOWN_RECIPIENTS = 20

_STATES = {
    Status.SENT: "sent", Status.TRANSIENT: "deferred", Status.UNCERTAIN: "deferred", Status.HELD: "held", Status.FAILED: "failed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` is sent, deferred, held or failed; `next_attempt` in seconds since the epoch; `event` the journal's new line."""

    state: str
    outcome: Outcome
    attempts: int
    delay: float
    next_attempt: float = 0.0
    event: Event = Event(0.0, journal.ATTEMPT, "", "")  # noqa: RUF009 - immutable


def decide(
    queue_id: str, delivery: Delivery, past: History,
    *, tried: bool, now: float, lifetime: float, random: float, suspended_until: float,
) -> Verdict:  # fmt: skip
    """The verdict on one outcome. `tried` is False where the message was passed over for a reason others met."""
    outcome = delivery.outcome
    attempts = past.attempts + tried
    arrived = schedule.since(delivery.arrived or arrival(queue_id), past, now)
    if outcome.status is Status.FAILED and outcome.second_chance and attempts < 2:
        outcome = replace(outcome, status=Status.TRANSIENT)
    if outcome.status in (Status.TRANSIENT, Status.UNCERTAIN) and too_old(arrived, past, now=now, lifetime=lifetime):
        outcome = Outcome(Status.FAILED, f"given up after {duration(now - arrived)}: {outcome.reason}", "Expired")
    state = _STATES[outcome.status]
    when = 0.0
    if state in ("deferred", "held"):
        wait = schedule.delay(outcome.status, max(attempts, 1), outcome.retry_after, random)
        when = now + wait
        if outcome.shared and suspended_until > now:
            when = max(suspended_until, when if outcome.status is Status.UNCERTAIN else now + 1)
    event = Event(
        round(float(now), 3), journal.ATTEMPT if tried else journal.PASSED_OVER, state, outcome.reason, outcome.code, attempts,
        shared=outcome.shared and outcome.status is not Status.UNCERTAIN,  # that is never tried again before its time
        unclear=delivery.unclear,
        sent_to=delivery.sent_to,  # all of them: an earlier event may have been lost
    )  # fmt: skip
    return Verdict(state, outcome, attempts, max(now - arrived, 0.0), when, event)


def too_old(arrived: float, past: History, *, now: float, lifetime: float) -> bool:
    """Is a message that meets one more round now to be given up for its age?"""
    arrived = schedule.since(arrived, past, now)
    recent = sum(0 <= now - time < schedule.ROUNDS_WITHIN for time in past.rounds)
    return schedule.expired(arrived=arrived, last_held=past.last_held, now=now, lifetime=lifetime, rounds=recent + 1)


def recorded(queue_id: str, delivery: Delivery, verdict: Verdict, now: float) -> dict[str, Any]:
    """The outcome's row in the record."""
    outcome = verdict.outcome
    return {
        "time": round(now, 3), "id": queue_id, "state": verdict.state, "arrived": delivery.arrived or arrival(queue_id),
        "to": delivery.to, "subject": delivery.subject, "size": delivery.size, "uid": delivery.uid, "attempts": verdict.attempts,
        "delay": round(verdict.delay, 3), "reason": outcome.reason, "code": outcome.code, "request_id": outcome.request_id,
        "uncertain": delivery.outcome.status is Status.UNCERTAIN, "throttled": bool(outcome.retry_after and outcome.shared),
        "relay": delivery.taken_by,
    }  # fmt: skip


def log_line(queue_id: str, delivery: Delivery, verdict: Verdict) -> str:
    """`ID: to=<a@b>, status=sent, delay=1.20, attempts=1, (reason; request-id=…)`: Postfix's vocabulary."""
    people = ",".join(f"<{address}>" for address in delivery.to[:SHOWN_RECIPIENTS])
    more = f" and {len(delivery.to) - SHOWN_RECIPIENTS} more" if len(delivery.to) > SHOWN_RECIPIENTS else ""
    relay = f"relay={delivery.taken_by}, " if delivery.taken_by else ""
    request_id = f"request-id={verdict.outcome.request_id}" if verdict.outcome.request_id else ""
    detail = "; ".join(word for word in (verdict.outcome.reason, request_id) if word)
    return (
        f"{queue_id}: {f'to={people}{more}, ' if people else ''}{relay}status={verdict.state}, delay={verdict.delay:.2f}, "
        f"attempts={verdict.attempts}{f', ({detail})' if detail else ''}"
    )
