"""At the mailbox's pace, alarms first, storms folded: the product's own runner on a virtual clock (tests/fleet.py), before a mailbox
that does what Exchange Online does after Graph's 202."""

import base64
import io
import random
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxmox_graph_mail.delivery.digest_rule import DigestRule
from proxmox_graph_mail.delivery.pace import STARVED, Pace, Policy
from proxmox_graph_mail.graph.outcome import Status
from proxmox_graph_mail.spool.lane import Lane
from proxmox_graph_mail.spool.ledger import Ledger
from proxmox_graph_mail.spool.store import Spool
from tests.fleet import BEGIN, Clock, Happenings, Mailbox, node, submit

RATE = Policy(rate=30)
FOLDING = Policy(rate=30, daily=10_000, user_daily=500, digest=DigestRule())
Submission = tuple[float, bytes] | tuple[float, bytes, int]
FENCE = b"Subject: FENCE: Try to fence node 'pve2'\nImportance: high\n\nx\n"


class World:
    """One host, one mailbox, one clock."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.spool = Spool(str(folder / "spool"))
        self.spool.create()
        self.policy = policy
        self.clock = Clock()
        self.mailbox = Mailbox(self.clock)
        self.happenings = Happenings(self.clock)

    def play(self, submissions: Sequence[Submission], *, idle: float = 400.0) -> None:
        """Submit each at its time (seconds after the beginning; those of 0 are there already), and let the runner end."""
        later = sorted((one for one in submissions if one[0] > 0), key=lambda one: one[0])
        for when, content, *uid in submissions:
            if when <= 0:
                submit(self.spool, BEGIN + when, content, uid=uid[0] if uid else 0)

        def submitter() -> None:
            for when, content, *uid in later:
                self.clock.sleep(BEGIN + when - self.clock.now)
                self.happenings.tell(submit(self.spool, self.clock.now, content, uid=uid[0] if uid else 0))

        run = node(self.spool, self.clock, self.mailbox, random.Random(7), self.policy, self.happenings, idle)
        self.clock.start_all([run, submitter])

    @property
    def subjects(self) -> list[str]:
        return [str(message["subject"]) for message in self.mailbox.messages]

    def arrived(self, subject: str) -> float:
        """Seconds after the beginning."""
        return next(when for name, when in self.mailbox.outbox.inbox if name == subject) - BEGIN


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Policy], World]:
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SYSLOG", "/nowhere")
    return lambda policy: World(tmp_path, policy)


def cron(number: int) -> bytes:
    return f"Subject: Cron <root@pve1> job {number}\n\nline of {number}\n".encode()


def different(number: int) -> bytes:
    """Like no other."""
    letters = "".join(chr(97 + int(digit)) for digit in str(number))
    return f"Subject: report on {letters}\n\nx\n".encode()


def sent_at(host: World) -> list[tuple[str, float]]:
    """Subjects, and when Graph took each, in seconds after the beginning."""
    return [(message["subject"], when - BEGIN) for message, when in zip(host.mailbox.messages, host.mailbox.took, strict=True)]


def originals(messages: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Everything that can be read in what Graph got: pages, and what is in their archives."""
    for message in messages:
        yield message["body"]["content"]
        for file in message.get("attachments", ()):
            if file["name"].endswith(".zip"):
                packed = zipfile.ZipFile(io.BytesIO(base64.b64decode(file["contentBytes"])))
                yield from (packed.read(name).decode() for name in packed.namelist())


@pytest.mark.parametrize("policy", [RATE, FOLDING])
def test_an_alarm_behind_a_storm_is_in_the_inbox_within_a_minute(world: Callable[[Policy], World], policy: Policy) -> None:
    """450 mails of a cron job, then FENCE: among the first 30, and there within a minute of its submission."""
    host = world(policy)
    host.play([*((0, cron(number)) for number in range(450)), (1.0, FENCE)])
    assert "FENCE: Try to fence node 'pve2'" in host.subjects[:30]
    assert host.arrived("FENCE: Try to fence node 'pve2'") < 61
    text = "\n".join(originals(host.mailbox.messages))
    assert [number for number in range(450) if f"line of {number}\n" not in text] == []
    assert (len(host.subjects) < 20) is (policy is FOLDING)
    assert host.spool.scan() == []


def test_mail_goes_as_fast_as_the_mailbox_takes_it(world: Callable[[Policy], World]) -> None:
    """A minute's worth at once, less what is kept for alarms; then 25 a minute, and never more than 30 in Exchange's outbox."""
    host = world(RATE)
    host.play([(0, different(number)) for number in range(150)])
    waited = [there - BEGIN for _, there in host.mailbox.outbox.inbox]
    assert len(host.subjects) == 150
    assert 290 <= waited[-1] <= 310  # (150 - 25) / 25 a minute


def test_a_lane_goes_before_the_next(world: Callable[[Policy], World]) -> None:
    """Root's alarm, a user's alarm, root's, a user's; and of a user who marks everything as urgent no more than five a minute."""
    host = world(RATE)
    urgent = b"Importance: high\nSubject: urgent %d\n\nx\n"
    host.play(
        [
            *((0, different(number), 1000) for number in range(60)),
            *((0, different(1000 + number)) for number in range(60)),
            *((0, urgent % number, 1000) for number in range(40)),
            (0, FENCE),
        ]
    )
    assert any(subject.startswith("FENCE") for subject in host.subjects[:10])
    first = host.subjects[:30]
    assert sum(subject.startswith("urgent") for subject in first) <= 6
    users = {f"report on {''.join(chr(97 + int(digit)) for digit in str(number))}" for number in range(60)}
    order = [subject in users for subject in host.subjects if not subject.startswith("urgent")][1:]
    assert order[:55] == [False] * 55


def test_five_a_minute_are_kept_for_alarms(world: Callable[[Policy], World]) -> None:
    """In the middle of a backlog that takes all there is, five at once go at once."""
    host = world(RATE)
    fences = [(30.0, b"Subject: FENCE %d\nImportance: high\n\nx\n" % number) for number in range(5)]
    host.play([*((0, different(number)) for number in range(100)), *fences])
    went = [when for name, when in sent_at(host) if name.startswith("FENCE")]
    assert len(went) == 5
    assert max(went) < 32
    assert max(when for _, when in sent_at(host)) < 250


def test_no_lane_starves(world: Callable[[Policy], World]) -> None:
    """Root's alarms without end: a user's mail goes all the same after a quarter of an hour."""
    host = world(RATE)
    alarms = [(float(second), b"X-Priority: 1\nSubject: alarm\n\nx\n") for second in range(1, 2400)]
    there = [(0, b"X-Priority: 1\nSubject: alarm\n\nx\n")] * 100
    host.play([(0, b"Subject: a user's\n\nx\n", 1000), *there, *alarms])
    assert STARVED <= next(when for name, when in sent_at(host) if name == "a user's") <= STARVED + 30


def test_what_waits_for_the_pace_costs_no_attempt_and_says_why(world: Callable[[Policy], World], tmp_path: Path) -> None:
    """Its journal is empty, and the ledger tells the reason and the lane."""
    host = world(Policy(rate=2))
    for number in range(5):
        submit(host.spool, BEGIN, different(number))
    seen: list[dict[int, tuple[float, str]]] = []

    def look() -> None:
        host.clock.sleep(10)
        seen.append(Ledger(host.spool.root).waits)
        assert list(Path(host.spool.queue).glob("*.log")) == []

    run = node(host.spool, host.clock, host.mailbox, random.Random(7), host.policy, host.happenings)
    host.clock.start_all([run, look])
    assert seen == [{3: (0.0, "the mailbox takes 2 a minute")}]
    assert len(host.subjects) == 5
    assert host.mailbox.last - BEGIN > 170


def test_what_waited_for_the_pace_did_not_age(world: Callable[[Policy], World]) -> None:
    """Six days old when its turn came, and Graph busy for two hours: it is not given up."""
    host = world(RATE)
    host.mailbox = Mailbox(host.clock, down=7200.0)
    ledger = Ledger(host.spool.root)
    ledger.waited = BEGIN - 5
    ledger.write(BEGIN)
    host.play([(-6 * 86400.0, different(1))])
    assert host.subjects == ["report on b"]
    assert host.spool.scan_failed() == []


def test_near_the_daily_limit_users_wait_and_at_it_all_but_alarms(world: Callable[[Policy], World]) -> None:
    """Of 20 recipients in 24 hours: from the 18th on root's alone, from the 20th on alarms alone; the rest goes the day after."""
    host = world(Policy(daily=20))
    host.play(
        [
            *((0, different(number), 1000) for number in range(19)),
            *((30.0, different(1000 + number)) for number in range(4)),
            (60.0, FENCE),
        ]
    )
    day = [subject for subject, when in host.mailbox.outbox.inbox if when - BEGIN < 3600]
    assert len(day) == 21
    assert day[-1].startswith("FENCE")
    assert sum(subject in day for subject in (f"report on {letters}" for letters in ("baaa", "baab", "baac", "baad"))) == 2
    assert len(host.subjects) == 24
    assert 82_000 < host.mailbox.last - BEGIN < 90_100


def test_a_user_over_its_daily_limit_waits_for_itself_alone(world: Callable[[Policy], World]) -> None:
    """Another user's mail goes by."""
    host = world(Policy(user_daily=10))
    host.play(
        [*((0, different(number), 1000) for number in range(14)), *((5.0, different(2000 + number), 1001) for number in range(4))]
    )
    first = [subject for subject, when in host.mailbox.outbox.inbox if when - BEGIN < 3600]
    assert len(first) == 14
    assert len(host.subjects) == 18


def test_the_ledger_survives_a_restart(world: Callable[[Policy], World]) -> None:
    """Two runners, one after the other: the second knows what the first sent, and that the minute is used up."""
    host = world(Policy(rate=30, daily=10_000))
    host.play([(0, different(number)) for number in range(25)], idle=1.0)
    ledger = Ledger(host.spool.root)
    assert ledger.total(host.clock.now) == 25
    assert ledger.by_user(host.clock.now) == [(0, 25)]
    begun = host.clock.now
    host.play([(0, different(100 + number)) for number in range(25)], idle=1.0)
    assert host.mailbox.last - begun > 50


def test_an_every_minute_job_is_a_hundred_mails_a_day(world: Callable[[Policy], World]) -> None:
    """1,440 mails become at most 5 + 96, and not a line is lost."""
    host = world(FOLDING)
    host.play([(60.0 * number, cron(number)) for number in range(1440)])
    assert len(host.subjects) <= 5 + 97
    assert host.subjects[:5] == [f"Cron <root@pve1> job {number}" for number in range(5)]
    assert all(re.match(r"\[\d+ more\] Cron <root@pve1> job \d+$", subject) for subject in host.subjects[5:])
    text = "\n".join(originals(host.mailbox.messages))
    assert [number for number in range(1440) if f"line of {number}\n" not in text] == []
    assert host.spool.scan() == []


def test_a_digest_of_nine_hundred_is_one_like_any_other(world: Callable[[Policy], World]) -> None:
    """Its first line is longer than what is read of other messages; nothing stays behind."""
    host = world(FOLDING)
    host.play([(0, cron(number)) for number in range(900)])
    assert len(host.subjects) <= 15
    assert host.spool.scan() == []
    assert list((Path(host.spool.root) / "digests").iterdir()) == []


def test_a_storm_of_ten_thousand_events_is_thirty_mails(world: Callable[[Policy], World]) -> None:
    """10,000 in 10 minutes, and none is lost."""
    host = world(FOLDING)
    host.play(
        [
            (0.06 * (number + 1), f"Subject: ZFS event {number:05d} on rpool\n\nevent {number:05d}\n".encode())
            for number in range(10_000)
        ]
    )
    assert len(host.subjects) <= 30
    text = "\n".join(originals(host.mailbox.messages))
    assert [number for number in range(10_000) if f"event {number:05d}\n" not in text] == []


def test_alarms_are_never_gathered_and_proxmox_s_notifications_from_the_31st(world: Callable[[Policy], World]) -> None:
    """Whatever comes again and again."""
    host = world(Policy(digest=DigestRule()))
    for number in range(40):
        submit(host.spool, BEGIN - 100 + number, b"Subject: backup %d\n\nx\n" % number, body="8BITMIME")
        submit(host.spool, BEGIN - 100 + number, b"Subject: fence %d\nPriority: urgent\n\nx\n" % number)
    host.play([])
    assert sum(subject.startswith("fence") for subject in host.subjects) == 40
    assert sum(subject.startswith("backup") for subject in host.subjects) == 30
    assert sum(subject.startswith("[10 more] backup") for subject in host.subjects) == 1


def lanes(pace: Pace, now: float) -> list[Lane]:
    return pace.lanes(now, lambda _lane: True)


def test_a_user_s_alarm_takes_nothing_of_root_s(tmp_path: Path) -> None:
    """Not of the day's last tenth, and not of a rate so small that nothing is kept."""
    ledger, now = Ledger(str(tmp_path)), BEGIN
    pace = Pace(ledger, lambda: now)
    pace.obey(Policy(daily=100))
    ledger.add(1000, 90, now)
    assert Lane.USERS_ALARM not in lanes(pace, now)
    assert Lane.ROOT in lanes(pace, now)
    pace = Pace(Ledger(str(tmp_path)), lambda: now)
    pace.obey(Policy(rate=1))
    went: dict[Lane, int] = {}
    for second in range(7200):
        for lane in lanes(pace, BEGIN + second)[:1]:
            pace.took(lane, 0, BEGIN + second)
            pace.settled(lane, 0, 1, Status.SENT, BEGIN + second)
            went[lane] = went.get(lane, 0) + 1
    assert went.get(Lane.ALARM, 0) > 80


def test_root_s_reports_go_beside_a_user_s_alarms_at_the_smallest_rate(tmp_path: Path) -> None:
    """One a minute: every other one is root's."""
    pace = Pace(Ledger(str(tmp_path)), lambda: BEGIN)
    pace.obey(Policy(rate=1))
    went: dict[Lane, int] = {}
    there = (Lane.USERS_ALARM, Lane.ROOT)
    for second in range(7200):
        now = BEGIN + second
        lane = next((lane for lane in pace.lanes(now, lambda lane: lane in there) if lane in there), None)
        if lane is not None:
            pace.took(lane, 0, now)
            went[lane] = went.get(lane, 0) + 1
    assert went[Lane.ROOT] > 40


def test_what_was_sent_at_once_is_no_debt(tmp_path: Path) -> None:
    """The next alarm goes two seconds later at most."""
    pace = Pace(Ledger(str(tmp_path)), lambda: BEGIN)
    pace.obey(Policy(rate=30))
    pace.off = True
    for _ in range(600):
        pace.took(Lane.ROOT, 0, BEGIN)
    pace.off = False
    assert (pace.token_wait(BEGIN, [Lane.ALARM]) or 0.0) <= 2
