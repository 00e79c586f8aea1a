"""From outcomes to states, and the suspension."""

import pytest

from proxmox_graph_mail.delivery.attempt import Delivery
from proxmox_graph_mail.delivery.suspension import Suspension
from proxmox_graph_mail.delivery.verdict import Verdict, decide, log_line
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import Event, History
from proxmox_graph_mail.spool.store import arrival
from tests.programs import Host

ID = "0655F19D01A53F00AB"
NOW = arrival(ID) + 10


def verdict(outcome: Outcome, past: History | None = None, **other: object) -> Verdict:
    values: dict[str, object] = {"tried": True, "now": NOW, "lifetime": 432000.0, "random": 0.0, "suspended_until": 0.0}
    delivery = Delivery(outcome, arrival(ID), ("a@example.com",))
    return decide(ID, delivery, past or History(), **(values | other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "state", "wait"),
    [("sent", "sent", None), ("transient", "deferred", 60), ("uncertain", "deferred", 300), ("held", "held", 900), ("failed", "failed", None)],
)  # fmt: skip
def test_each_outcome_has_its_state(status: str, state: str, wait: float | None) -> None:
    """…and its next attempt."""
    found = verdict(Outcome(Status(status)))
    assert found.state == state
    assert found.next_attempt == (NOW + wait if wait else 0.0)


def test_a_second_chance_is_one_chance() -> None:
    """Deferred once, then failed."""
    outcome = Outcome(Status.FAILED, second_chance=True)
    assert verdict(outcome).state == "deferred"
    assert verdict(outcome, History(attempts=1, rounds=(NOW,))).state == "failed"


def test_too_old_is_failed_and_held_does_not_age() -> None:
    """QUEUE_LIFETIME."""
    now = arrival(ID) + 6 * 86400
    lately = History(rounds=(now - 3600, now - 60))
    old = verdict(Outcome(Status.TRANSIENT, "x"), lately, now=now)
    assert (old.state, old.outcome.reason) == ("failed", "given up after 6 days: x")
    assert verdict(Outcome(Status.HELD), lately, now=now).state == "held"
    held = History(rounds=lately.rounds, last_held=now - 60)
    assert verdict(Outcome(Status.TRANSIENT), held, now=now).state == "deferred"


def test_a_host_that_was_off_for_a_week_tries_first() -> None:
    """Rounds from before the power went do not count, nor do those that a wrong clock dates into the future."""
    now = arrival(ID) + 7 * 86400
    for times in ((now - 6 * 86400,) * 5, (now + 86400,) * 5):
        assert verdict(Outcome(Status.TRANSIENT, "x"), History(rounds=times), now=now).state == "deferred"


def test_what_is_shared_waits_for_the_suspension_s_end() -> None:
    """All come back together, for one of them to be the probe."""
    assert verdict(Outcome(Status.HELD, shared=True), suspended_until=NOW + 77).next_attempt == NOW + 77


def test_the_log_line_is_postfix_s() -> None:
    """`ID: to=<a@b>, status=…, delay=…, attempts=…, (reason; request-id=…)`."""
    outcome = Outcome(Status.TRANSIENT, "busy", request_id="r-1")
    line = log_line(ID, Delivery(outcome, arrival(ID), ("a@example.com", "b@example.com")), verdict(outcome))
    assert line == (f"{ID}: to=<a@example.com>,<b@example.com>, status=deferred, delay=10.00, attempts=1, (busy; request-id=r-1)")


def test_the_history_adds_up(host: Host) -> None:
    """What verdicts wrote is what the next one reads; what is torn, or of another shape, is passed over."""
    first = verdict(Outcome(Status.HELD, "no", shared=True), tried=False).event
    second = verdict(Outcome(Status.TRANSIENT, "busy", "x"))
    queue = str(host.spool / "queue")
    journal.append(queue, ID, first)
    odd = [b"[]", b"7", b'{"time": "x"}', b'{"sent_to": 5}', b'{"state": null}', b"\xff", b'{"time": "torn', b"[" * 100_000]
    with (host.spool / "queue" / f"{ID}.log").open("ab") as file:
        file.write(b"\n".join(odd) + b"\n")
    journal.append(queue, ID, second.event._replace(sent_to=("a@example.com",)))
    time = round(NOW, 3)
    assert journal.read(queue, ID) == History(
        "deferred", time, "busy", "x", 1, (time, time), time, False, (), ("a@example.com",)
    )  # fmt: skip


def test_a_history_keeps_what_later_events_do_not_say() -> None:
    """Who has it, who may have it, how far root's part came."""
    unclear = verdict(Outcome(Status.UNCERTAIN)).event._replace(sent_to=("a@example.com",), unclear=("c@example.com",))
    asked = Event(5.0, journal.HAND_OVER, "deferred", "x", hand_over=journal.ASKED)
    put_off = verdict(Outcome(Status.HELD, shared=True), tried=False).event._replace(sent_to=("b@example.com",))
    past = journal.summary([unclear, asked, put_off])
    assert (past.unclear, past.hand_over, past.hand_over_at) == (("c@example.com",), journal.ASKED, 5.0)
    assert past.sent_to == ("a@example.com", "b@example.com")
    assert len(past.rounds) == 2
    assert past.after(verdict(Outcome(Status.TRANSIENT)).event).unclear == ("c@example.com",)


def test_the_suspension_doubles_once_a_round() -> None:
    """Those in flight with the first change nothing; success or changed settings clear it."""
    outcome = Outcome(Status.HELD, shared=True)
    suspension = Suspension()
    assert suspension.active(1000) is None
    assert not suspension.probing
    suspension.note(outcome, 1000, 0)
    suspension.note(outcome, 1001, 0)
    assert suspension.until == 1900
    assert suspension.active(1899) is outcome
    assert suspension.active(1900) is None
    assert suspension.probing
    suspension.note(outcome, 1900, 0)
    assert suspension.until == 3700
    assert suspension.clear()
    assert not suspension.clear()
    assert suspension.active(0) is None
