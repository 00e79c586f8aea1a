"""What an attempt's outcome makes of the message: its next state, its next attempt, its log line. Pure functions.

outcome                     state      next attempt
sent                        sent       none: unlinked
transient, uncertain        deferred   by the schedule; too old: failed
held                        held       by the slower schedule; does not age
failed                      failed     none: moved to failed/; a second chance: deferred once
any that is shared          …          when the suspension ends
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxmox_graph_mail.delivery import schedule
from proxmox_graph_mail.delivery.attempt import Delivery
from proxmox_graph_mail.graph.message import duration
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.spool import Spool
from proxmox_graph_mail.submission import forwarding
from proxmox_graph_mail.submission.mailq import history

SHOWN_RECIPIENTS = 20

_STATES = {
    Status.SENT: "sent", Status.TRANSIENT: "deferred", Status.UNCERTAIN: "deferred", Status.HELD: "held", Status.FAILED: "failed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class History:
    """What a message's log says of it: its state (empty: new), attempts so far, the times of its rounds (attempts and being
    passed over), when it was last held, whether its last reason concerned every message, who has it already, and whether the
    last attempt may have sent it; `forwarded` tells how far its hand-over to Proxmox's notification system came, and when."""

    state: str = ""
    attempts: int = 0
    rounds: tuple[float, ...] = ()
    last_held: float = 0.0
    shared: bool = False
    sent_to: tuple[str, ...] = ()
    uncertain: bool = False
    forwarded: tuple[str, float] = ("", 0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` is sent, deferred, held or failed; `next_attempt` in seconds since the epoch; `event` the log's new line."""

    state: str
    outcome: Outcome
    attempts: int
    delay: float
    next_attempt: float = 0.0
    event: bytes = b""


def history_of(spool: Spool, queue_id: str) -> History:
    """Read a message's log."""
    return summary(history(spool.read_log(queue_id)))


def summary(events: Sequence[dict[str, Any]]) -> History:
    """Add up a message's events."""
    if not events:
        return History()
    return History(
        state=events[-1]["status"],
        attempts=sum(event["tried"] for event in events),
        rounds=tuple(event["time"] for event in events),
        last_held=max((event["time"] for event in events if event["status"] == "held"), default=0.0),
        shared=events[-1]["shared"],
        uncertain=next((event["uncertain"] for event in reversed(events) if event["tried"]), False),
        forwarded=next(((event["forward"], event["time"]) for event in reversed(events) if event["forward"]), ("", 0.0)),
        sent_to=tuple(dict.fromkeys(str(address) for event in events for address in event["sent_to"])),
    )


def decide(
    queue_id: str, delivery: Delivery, past: History,
    *, tried: bool, now: float, lifetime: float, random: float, suspended_until: float,
) -> Verdict:  # fmt: skip
    """The verdict on one outcome. `tried` is False where the message was passed over for a reason others met."""
    outcome = delivery.outcome
    attempts = past.attempts + tried
    arrived = delivery.arrived or arrival(queue_id)
    if outcome.status is Status.FAILED and outcome.second_chance and attempts < 2:
        outcome = replace(outcome, status=Status.TRANSIENT)
    recent = sum(0 <= now - time < schedule.ROUNDS_WITHIN for time in past.rounds)
    if (
        outcome.status in (Status.TRANSIENT, Status.UNCERTAIN)
        and outcome.code != forwarding.CODE
        and schedule.expired(arrived=arrived, last_held=past.last_held, now=now, lifetime=lifetime, rounds=recent + 1)
    ):
        outcome = Outcome(Status.FAILED, f"given up after {duration(now - arrived)}: {outcome.reason}", "Expired")
    state = _STATES[outcome.status]
    when = 0.0
    if state in ("deferred", "held"):
        wait = schedule.delay(outcome.status, max(attempts, 1), outcome.retry_after, random)
        if outcome.code == forwarding.CODE:
            wait = forwarding.PATIENCE
        when = max(suspended_until, now + 1) if outcome.shared and suspended_until > now else now + wait
    event = {
        "time": round(float(now), 3), "status": state, "reason": outcome.reason, "code": outcome.code, "attempts": attempts,
        "tried": tried, "shared": outcome.shared, "uncertain": outcome.status is Status.UNCERTAIN,
    }  # fmt: skip
    if outcome.code == forwarding.CODE:
        event["forward"] = forwarding.ASKED
    if delivery.sent_to:
        event["sent_to"] = delivery.sent_to  # all of them: an earlier event may have been lost
    return Verdict(state, outcome, attempts, max(now - arrived, 0.0), when, json.dumps(event).encode() + b"\n")


def arrival(queue_id: str) -> float:
    """When a message was handed in, by its queue ID."""
    return int(queue_id[:13], 16) / 1e6


def recorded(queue_id: str, delivery: Delivery, verdict: Verdict, now: float) -> dict[str, Any]:
    """The outcome's row in the record."""
    outcome = verdict.outcome
    return {
        "time": round(now, 3), "id": queue_id, "state": verdict.state, "arrived": delivery.arrived or arrival(queue_id),
        "to": delivery.to, "subject": delivery.subject, "size": delivery.size, "uid": delivery.uid, "attempts": verdict.attempts,
        "delay": round(verdict.delay, 3), "reason": outcome.reason, "code": outcome.code, "request_id": outcome.request_id,
        "uncertain": delivery.outcome.status is Status.UNCERTAIN, "throttled": bool(outcome.retry_after and outcome.shared),
    }  # fmt: skip


def log_line(queue_id: str, delivery: Delivery, verdict: Verdict) -> str:
    """`ID: to=<a@b>, status=sent, delay=1.20, attempts=1, (reason; request-id=…)`: Postfix's vocabulary."""
    people = ",".join(f"<{address}>" for address in delivery.to[:SHOWN_RECIPIENTS])
    more = f" and {len(delivery.to) - SHOWN_RECIPIENTS} more" if len(delivery.to) > SHOWN_RECIPIENTS else ""
    request_id = f"request-id={verdict.outcome.request_id}" if verdict.outcome.request_id else ""
    detail = "; ".join(word for word in (verdict.outcome.reason, request_id) if word)
    return (
        f"{queue_id}: {f'to={people}{more}, ' if people else ''}status={verdict.state}, delay={verdict.delay:.2f}, "
        f"attempts={verdict.attempts}{f', ({detail})' if detail else ''}"
    )
