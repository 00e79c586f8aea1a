"""From outcomes to states, and the suspension."""

from dataclasses import replace

import pytest

from proxmox_graph_mail.delivery import schedule
from proxmox_graph_mail.delivery.attempt import Delivery
from proxmox_graph_mail.delivery.suspension import Suspension
from proxmox_graph_mail.delivery.verdict import Verdict, decide, log_line
from proxmox_graph_mail.graph.outcome import NOT_GRAPH, Outcome, Status
from proxmox_graph_mail.spool import journal, suspended
from proxmox_graph_mail.spool.journal import Event, History
from proxmox_graph_mail.spool.store import Spool, arrival
from proxmox_graph_mail.spool.suspended import Suspended
from tests.programs import Host

ID = "655F19D01A53F0A0AB"
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
        "deferred", time, "busy", "x", 1, (time, time), time, False, (), ("a@example.com",), begun=time
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


def test_what_is_uncertain_is_not_tried_before_its_own_time() -> None:
    """However short the suspension is that it caused, and however soon that ends."""
    found = verdict(Outcome(Status.UNCERTAIN, shared=True), suspended_until=NOW + 8)
    assert found.next_attempt == NOW + 300
    assert not found.event.shared


def test_the_suspension_doubles_once_a_round(host: Host) -> None:
    """Those in flight with the first change nothing; success or changed settings clear it."""
    outcome = Outcome(Status.HELD, shared=True)
    suspension = Suspension(Spool(str(host.spool)))
    assert suspension.active(1000) is None
    assert not suspension.probing
    assert suspension.note(outcome, 1000, 0)
    assert not suspension.note(outcome, 1001, 0)
    assert suspension.until == 1900
    assert suspension.active(1899) is outcome
    assert suspension.active(1900) is None
    assert suspension.probing
    assert suspension.note(outcome, 1900, 0)
    assert suspension.until == 3700
    assert suspension.clear(2000)
    assert not suspension.clear(2000)
    assert suspension.active(0) is None


def test_a_suspension_is_written_down_once_and_outlives_the_runner(host: Host) -> None:
    """The next one probes; what was held does not age, and each round was a chance for every message."""
    spool = Spool(str(host.spool))
    Suspension(spool).note(Outcome(Status.HELD, "no consent", "Authorization_RequestDenied", shared=True), 1000, 0)
    written = suspended.read(spool)
    assert written == Suspended("held", "no consent", "Authorization_RequestDenied", 1000, 1900, 1000, (1000,))
    next_one = Suspension(spool)
    assert next_one.probing
    assert next_one.active(1001) is None
    assert next_one.clear(1500)
    assert suspended.read(spool) == Suspended(last_held=1500, rounds=(1000,))
    assert (Suspension(spool).probing, Suspension(spool).last_held, Suspension(spool).round_times) == (False, 1500, (1000,))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"state": 7}', b'{"rounds": [null]}', b'{"until": "x", "state": "held"}'])
def test_a_suspension_that_cannot_be_read_is_none(host: Host, content: bytes) -> None:
    """Junk, or another shape."""
    (host.spool / "suspended").write_bytes(content)
    assert suspended.read(Spool(str(host.spool))) == Suspended()


def test_three_uncertain_answers_in_a_row_concern_all(host: Host) -> None:
    """Each further one may send a mail twice; a clear answer in between says that Graph is there."""
    suspension = Suspension(Spool(str(host.spool)))
    uncertain, sent = Outcome(Status.UNCERTAIN), Outcome(Status.SENT)
    answers = [uncertain, uncertain, sent, uncertain, uncertain, uncertain]
    assert [suspension.concerns_all(ID, answer) for answer in answers] == [False] * 5 + [True]
    suspension.note(replace(uncertain, shared=True), 1000, 0)
    assert suspension.concerns_all(ID, uncertain)  # a probe that fares no better


def test_a_journal_is_bounded_and_forgets_nothing_that_counts(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message may be held for months: who has it, who may have it, and how far root's part came stay known."""
    monkeypatch.setattr(journal, "LONGEST", 20_000)
    queue = str(host.spool / "queue")
    unclear = verdict(Outcome(Status.UNCERTAIN)).event._replace(sent_to=("a@example.com",), unclear=("c@example.com",))
    asked = Event(5.0, journal.HAND_OVER, "deferred", "x", hand_over=journal.DONE)
    held = [Event(NOW + n, journal.ATTEMPT, "held", "no", attempts=n) for n in range(2, 900)]
    longest = 0
    for event in (unclear, asked, *held, held[-1]._replace(state="deferred", sent_to=("b@example.com",))):
        journal.append(queue, ID, event)
        longest = max(longest, (host.spool / "queue" / f"{ID}.log").stat().st_size)
    assert longest < 45_000
    past = journal.read(queue, ID)
    assert (past.sent_to, past.unclear) == (("a@example.com", "b@example.com"), ("c@example.com",))
    assert (past.hand_over, past.hand_over_at, past.attempts, past.last_held) == (journal.DONE, 5.0, 899, NOW + 899)


def test_what_did_not_come_from_graph_concerns_one_mail_until_another_meets_it(host: Host) -> None:
    """A filter that blocks one body must not stop root's alarm; one that blocks everything is met by the next mail."""
    suspension = Suspension(Spool(str(host.spool)))
    blocked = Outcome(Status.HELD, "refused", NOT_GRAPH)
    one, two = ID, ID[::-1]
    assert not suspension.concerns_all(one, blocked)
    assert not suspension.concerns_all(one, blocked)
    assert not suspension.concerns_all(two, Outcome(Status.SENT))
    assert not suspension.concerns_all(two, blocked)
    assert suspension.concerns_all(one, blocked)


@pytest.mark.parametrize(
    ("arrived", "past", "began"),
    [
        (NOW - 100, History(), NOW - 100), (1e9, History(), NOW), (NOW + 9e6, History(), NOW), (1e9, History(begun=NOW - 50), NOW - 50),
        (NOW - 9e6, History(begun=NOW - 70, retried=True), NOW - 70), (1e9, History(begun=NOW + 9e6), NOW),
    ],
    ids=["a right clock", "a dead battery", "a clock ahead", "a dead battery, tried since", "taken back by an admin", "both wrong"],
)  # fmt: skip
def test_a_message_ages_from_the_first_time_that_a_right_clock_saw_it(arrived: float, past: History, began: float) -> None:
    """Or from when an admin took it back."""
    assert schedule.since(arrived, past, NOW) == began


def test_a_mail_of_2001_is_not_given_up_for_its_age() -> None:
    """Handed in under a dead battery's clock, then NTP, then an outage: it has its five days."""
    lately = History(rounds=(NOW - 900, NOW - 400), begun=NOW - 900)
    delivery = Delivery(Outcome(Status.TRANSIENT, "x"), 1e9, ("a@example.com",))
    found = decide(ID, delivery, lately, tried=True, now=NOW, lifetime=432000.0, random=0.0, suspended_until=0.0)
    assert (found.state, found.delay) == ("deferred", 900.0)


def test_what_an_admin_takes_back_begins_a_new_life() -> None:
    """Its rounds too: else it would be given up after one more attempt in the same outage."""
    old = Event(NOW - 9e6, journal.ATTEMPT, "failed", "given up", attempts=40)
    back = Event(NOW - 60, journal.RETRIED, "", "retried by an admin")
    past = journal.summary([old, old, old, back])
    assert (past.state, past.begun, past.rounds, past.attempts) == ("", NOW - 60, (), 40)
    delivery = Delivery(Outcome(Status.TRANSIENT, "x"), NOW - 9e6, ("a@example.com",))
    assert decide(ID, delivery, past, tried=True, now=NOW, lifetime=432000.0, random=0.0, suspended_until=0.0).state == "deferred"


def test_a_shortened_journal_still_knows_when_it_began(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that an admin took it back."""
    monkeypatch.setattr(journal, "LONGEST", 2000)
    monkeypatch.setattr(journal, "KEPT", 3)
    queue = str(host.spool / "queue")
    journal.append(queue, ID, Event(NOW, journal.RETRIED, "", "retried by an admin"))
    for number in range(1, 60):
        journal.append(queue, ID, Event(NOW + number, journal.ATTEMPT, "deferred", "x" * 30, attempts=number))
    past = journal.read(queue, ID)
    assert (past.begun, past.retried, len(journal.events(queue, ID)) < 30) == (NOW, True, True)
