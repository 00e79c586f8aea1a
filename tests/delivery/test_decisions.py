"""The runner's own decisions, with disk, clock and Graph at their worst."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxmox_graph_mail.delivery.alarm import Alarm
from proxmox_graph_mail.delivery.attempt import Delivery, send
from proxmox_graph_mail.delivery.configuration import Configuration
from proxmox_graph_mail.delivery.events import Events
from proxmox_graph_mail.delivery.index import DEATHS
from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.delivery.runner import Runner
from proxmox_graph_mail.delivery.settlement import SPOOL_TROUBLE_PAUSE
from proxmox_graph_mail.delivery.supervision import Report
from proxmox_graph_mail.delivery.surroundings import Observers, Surroundings
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.graph.permissions import REQUEST_LIMIT
from proxmox_graph_mail.root_mail.decision import Decision, RootPart, given_up
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.journal import Event, History
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.wake import wake
from proxmox_graph_mail.submission.intake import store
from tests.message.test_corpus import BOOK
from tests.programs import Host


class ReadOnlySpool(Spool):
    """A spool on a disk that was remounted read-only while the runner ran."""

    read_only = True
    removals = 0

    def remove(self, queue_id: str, *, failed: bool = False, durable: bool = True) -> None:
        self.removals += 1
        if self.read_only:
            raise SpoolError("cannot use the spool: Read-only file system")
        super().remove(queue_id, failed=failed, durable=durable)

    def defer(self, queue_id: str, when: float) -> None:
        if self.read_only:
            raise SpoolError("cannot use the spool: Read-only file system")
        super().defer(queue_id, when)


class Mailer:
    def __init__(self, status: Status) -> None:
        self.status = status
        self.sent = 0
        self.in_sent_items: Outcome | None = None

    def send(self, body: bytes) -> Outcome:
        self.sent += 1
        return Outcome(self.status, "reason")

    def send_mime(self, message: bytes) -> Outcome:
        return self.send(message)

    def send_large(self, message: object, files: object) -> Outcome:
        self.sent += 1
        return Outcome(self.status, "reason")

    def request_limit(self) -> int:
        return REQUEST_LIMIT

    def was_sent(self, message_id: str, recipients: object, at: float) -> Outcome | None:
        return self.in_sent_items

    def be_patient(self, *, patient: bool) -> None: ...

    def forget_refusals(self) -> None: ...

    def forget_permissions(self) -> None: ...


def world(clock: Callable[[], float], monotonic: Callable[[], float] | None = None) -> Surroundings:
    return Surroundings(clock=clock, monotonic=monotonic or clock)


def configuration(mailer: Mailer) -> Configuration:
    """Settings that never change, with this mailer."""
    return Configuration(lambda: (Relay(mailer, "pve@example.com", BOOK), 1e9, lambda: None), dict)


@pytest.fixture(autouse=True)
def _syslog(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process logs where the host's programs do."""
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SYSLOG", host.env["PROXMOX_GRAPH_MAIL_SYSLOG"])


@pytest.fixture
def events() -> Iterator[Events]:
    made = Events(threading.Event())
    yield made
    made.close()


@pytest.mark.parametrize("status", [Status.SENT, Status.UNCERTAIN, Status.HELD])
def test_a_message_whose_state_cannot_be_written_is_not_tried_again_at_once(host: Host, events: Events, status: Status) -> None:
    """A sent mail is not sent again; a deferred one waits; both go on once the disk can be written."""
    assert host.sendmail("-odq", "root").returncode == 0
    spool, mailer, now = ReadOnlySpool(str(host.spool)), Mailer(status), 2e9

    runner = Runner(spool, configuration(mailer), events, threading.Event(), world(lambda: now))
    for _ in range(3):
        assert runner.run(once=True) == 1
        assert not runner.has_work()  # else a pass would begin again at once, and spin
    assert mailer.sent == 1
    assert spool.removals == (1 if status is Status.SENT else 0)  # each pass would knock at a disk that refuses
    now += SPOOL_TROUBLE_PAUSE + 1
    spool.read_only = False
    mailer.status = Status.SENT
    assert runner.run(once=True) == 0
    assert mailer.sent == (1 if status is Status.SENT else 2)
    assert any("Read-only file system" in line for line in host.syslog.read())
    assert list(Path(spool.queue).iterdir()) == []


def test_a_disk_that_takes_no_log_does_not_make_copies(host: Host, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """One recipient is no address, so the mail is not done; who has it is remembered, though it cannot be written down."""
    assert host.sendmail("-odq", "good@example.com", "bad@a_b.com").returncode == 0
    spool, mailer, now = Spool(str(host.spool)), Mailer(Status.SENT), 2e9

    def full(*_: object, **__: object) -> None:
        raise SpoolError("the disk is full")

    monkeypatch.setattr(journal, "append", full)
    runner = Runner(spool, configuration(mailer), events, threading.Event(), world(lambda: now))
    for _ in range(5):
        runner.run(once=True)
        now += SPOOL_TROUBLE_PAUSE + 1
    assert mailer.sent == 1


def test_who_has_a_mail_is_on_the_disk_before_the_runner_goes_on(
    host: Host, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal's line is fsynced once anybody was sent it: after a loss of power nobody gets it twice."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for recipients, durable in ((("nobody@example.com",), False), (("good@example.com", "bad@a_b.com"), True)):
        assert host.sendmail("-odq", *recipients).returncode == 0
        (queue_id,) = host.queue()
        mailer = Mailer(Status.SENT if durable else Status.TRANSIENT)
        runner = Runner(Spool(str(host.spool)), configuration(mailer), events, threading.Event(), world(time.time))
        runner.run(once=True)
        log = host.spool / "queue" / f"{queue_id}.log"
        assert (str(log) in synced) is durable
        (host.spool / "queue" / queue_id).unlink(missing_ok=True)  # or in failed/ now


def test_what_was_sent_does_not_come_back_with_the_power(host: Host, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unlinks of a moment share an fsync of the directory; before the runner rests or leaves there was one."""
    left: list[int] = []
    real = Spool.sync

    def sync(spool: Spool) -> None:
        left.append(len(host.queue()))
        real(spool)

    monkeypatch.setattr(Spool, "sync", sync)
    for _ in range(5):
        assert host.sendmail("-odq", "root").returncode == 0
    runner = Runner(Spool(str(host.spool)), configuration(Mailer(Status.SENT)), events, threading.Event(), world(time.time))
    runner.run(once=True)
    assert left[-1] == 0
    assert len(left) < 5


def test_a_queue_that_vanishes_is_waited_for_without_spinning(host: Host, events: Events) -> None:
    """Unmounted, or moved away: the runner lets go of what it knew, and of nothing that was sent."""
    for _ in range(12):
        assert host.sendmail("-odq", "root").returncode == 0
    spool, mailer = Spool(str(host.spool)), Mailer(Status.SENT)
    stop, later = threading.Event(), 0.0
    runner = Runner(spool, configuration(mailer), events, stop, world(lambda: time.time() + later))
    runner._scan()
    first = next(iter(runner._index))
    runner._index.sent(first)  # and its file could not be removed
    runner._settlement.unremoved.append(first)
    queue, away = Path(spool.queue), host.spool / "away"
    queue.rename(away)
    spinning = threading.Timer(10, stop.set)
    spinning.start()
    runner.run(once=True)
    spinning.cancel()
    assert not stop.is_set()  # the pass came to an end by itself
    assert not runner.has_work()
    assert mailer.sent == 0
    away.rename(queue)
    later = SPOOL_TROUBLE_PAUSE + 1
    assert runner.run(once=True) == 0
    assert mailer.sent == 11


def test_a_clock_that_was_set_makes_everything_due(host: Host, events: Events) -> None:
    """400 days ahead, the line down, then corrected: one more attempt, no spinning, no waiting for next year."""
    assert host.sendmail("-odq", "root").returncode == 0
    spool, mailer = Spool(str(host.spool)), DeadLine()
    clock, monotonic = 2e9 + 400 * 86400, 1000.0
    runner = Runner(spool, configuration(mailer), events, threading.Event(), world(lambda: clock, lambda: monotonic))
    assert runner.run(once=True) == 1
    assert mailer.sent == 1
    clock, monotonic = 2e9, 1010.0
    assert runner.run(once=True) == 1
    assert mailer.sent == 2
    assert len(journal.events(spool.queue, host.queue()[0])) == 2
    clock, monotonic = 2e9 + 3, 1013.0
    assert runner.run(once=True) == 1
    assert mailer.sent == 2


def test_a_clock_that_jumps_ahead_shortens_no_wait_but_its_own(host: Host, events: Events) -> None:
    """A host that was paused: an uncertain mail is not due because of that."""
    assert host.sendmail("-odq", "root").returncode == 0
    mailer, clock = Mailer(Status.UNCERTAIN), 2e9
    runner = Runner(Spool(str(host.spool)), configuration(mailer), events, threading.Event(), world(lambda: clock, lambda: 0.0))
    runner.run(once=True)
    clock += 100
    runner.run(once=True)
    assert mailer.sent == 1


def test_a_mail_that_alone_is_refused_does_not_stop_the_others(host: Host, events: Events) -> None:
    """The probe of a suspended queue is another mail each round."""
    for name in ("poison", "good 1", "good 2", "good 3", "good 4", "good 5"):
        assert host.sendmail("-odq", "root", stdin=f"Subject: {name}\n\nx".encode()).returncode == 0
    now, mailer = 2e9, Poisoned()
    runner = Runner(Spool(str(host.spool)), configuration(mailer), events, threading.Event(), world(lambda: now))
    for _ in range(8):
        runner.run(once=True)
        now += 3 * 3600
    assert len(host.queue()) == 1
    assert mailer.delivered == 5
    # From now on its refusal is its own: new mail does not wait for it.
    for number in range(3):
        assert host.sendmail("-odq", "root", stdin=b"Subject: new\n\nx").returncode == 0
        runner.run(once=True)
        assert mailer.delivered == 6 + number
        now += 3 * 3600


def test_mail_that_waits_with_a_suspended_queue_is_given_up_for_its_age_too(host: Host, events: Events) -> None:
    """It is not tried, so its own attempts would never end it; the rounds of the queue are its chances."""
    for _ in range(8):
        assert host.sendmail("-odq", "root").returncode == 0
    now, mailer = time.time(), DeadLine()
    relay = Relay(mailer, "pve@example.com", BOOK)
    five_days = Configuration(lambda: (relay, 5 * 86400.0, lambda: None), dict)
    runner = Runner(Spool(str(host.spool)), five_days, events, threading.Event(), world(lambda: now))
    for _ in range(3):
        assert runner.run(once=True) == 8
        now += 600
    now += 6 * 86400
    assert runner.run(once=True) == 8  # the first round after so long: nobody had a chance lately
    for _ in range(6):
        now += 600
        runner.run(once=True)
    assert (host.queue(), len(host.failed())) == ([], 8)
    reasons = [journal.read(f"{host.spool}/failed", one).reason for one in host.failed()]
    assert all(reason.startswith("given up after 6 days") and reason.endswith(": cannot connect") for reason in reasons)


def test_an_error_that_passes_does_not_fail_a_mail(host: Host, events: Events) -> None:
    """Too many open files is the kernel's trouble, not the mail's."""
    assert host.sendmail("-odq", "root").returncode == 0
    spool = NoFiles(str(host.spool))
    runner = Runner(spool, configuration(Mailer(Status.SENT)), events, threading.Event(), Surroundings())
    assert runner.run(once=True) == 1
    assert host.failed() == []


class NoFiles(Spool):
    def open(self, queue_id: str, *, failed: bool = False) -> int:
        raise OSError(23, "Too many open files in system")


class DeadLine(Mailer):
    def __init__(self) -> None:
        super().__init__(Status.TRANSIENT)

    def send(self, body: bytes) -> Outcome:
        self.sent += 1
        return Outcome(Status.TRANSIENT, "cannot connect", shared=True)


class Poisoned(Mailer):
    def __init__(self) -> None:
        super().__init__(Status.SENT)
        self.delivered = 0

    def send(self, body: bytes) -> Outcome:
        if b"poison" in body:
            return Outcome(Status.HELD, "the mailbox is full, says Graph of this one", shared=True)
        self.delivered += 1
        return Outcome(Status.SENT)


class Crowded(Mailer):
    """Notes which mails are with it at the same time, and lets others come while one is."""

    def __init__(self) -> None:
        super().__init__(Status.SENT)
        self.present: set[str] = set()
        self.together: list[set[str]] = []
        self.lock = threading.Lock()

    def send(self, body: bytes) -> Outcome:
        subject = json.loads(body)["message"]["subject"]
        with self.lock:
            self.present.add(subject)
            self.together.append(set(self.present))
        threading.Event().wait(0.2)  # no event tells that nobody else comes
        with self.lock:
            self.present.remove(subject)
        return Outcome(Status.SENT)


def test_no_user_but_root_holds_all_the_places(host: Host, events: Events) -> None:
    """Three of another user's mails may be with Graph, however many wait; root's go beside them."""
    spool, mailer = Spool(str(host.spool)), Crowded()
    for number in range(8):
        store(
            spool, Envelope(sender="m", recipients=("a@b.example",), uid=4242, arrived=1e9), [b"Subject: bulk %d\n\nx" % number]
        )
    for number in range(3):
        store(spool, Envelope(sender="r", recipients=("a@b.example",), uid=0, arrived=1e9), [b"Subject: alarm %d\n\nx" % number])
    runner = Runner(spool, configuration(mailer), events, threading.Event(), Surroundings())
    assert runner.run(once=True) == 0
    bulk = [sum(name.startswith("bulk") for name in together) for together in mailer.together]
    assert max(bulk) == 3
    assert any(len(together) > 3 for together in mailer.together)


def of(spool: Spool, uid: int, subject: str) -> str:
    """A message that this user submitted."""
    envelope = Envelope(sender="m", recipients=("a@b.example",), uid=uid, arrived=1e9)
    return store(spool, envelope, [f"Subject: {subject}\n\nx".encode()])


def test_what_a_runner_may_have_died_of_is_tried_last_and_alone(host: Host, events: Events) -> None:
    """The others go at once; a suspect while none of them does, so that they do not fall with it."""
    spool, mailer = Spool(str(host.spool)), Crowded()
    suspects = [of(spool, 4242, f"suspect {number}") for number in (1, 2)]
    for name in ("a", "b", "c"):
        of(spool, 4242, name)
    (host.spool / "in-flight").write_text("".join(f"{queue_id} 0\n" for queue_id in suspects))
    runner = Runner(spool, configuration(mailer), events, threading.Event(), Surroundings())
    assert runner.run(once=True) == 0
    assert {"a", "b", "c"} in mailer.together
    assert [together for together in mailer.together if any(one.startswith("suspect") for one in together)] == [
        {"suspect 1"}, {"suspect 2"},
    ]  # fmt: skip


def test_root_s_mail_goes_beside_a_suspect_and_is_not_blamed(host: Host, events: Events) -> None:
    """A user's mail that takes its time, with which a runner ended, delays no alarm; should it end another, it alone was it."""
    spool = Spool(str(host.spool))
    suspect = of(spool, 4242, "suspect")
    (host.spool / "in-flight").write_text(f"{suspect} 0\n")
    events.listen(host.run_directory)
    written: list[str] = []

    class Slow(Crowded):
        def send(self, body: bytes) -> Outcome:
            if b"suspect" in body:
                wake(str(host.run_directory), of(spool, 4242, "other"))
                wake(str(host.run_directory), of(spool, 0, "alarm"))
                assert arrived.wait(20), "root's mail waits for the suspect"
                return Outcome(Status.SENT)
            if b"alarm" in body:
                written.append((host.spool / "in-flight").read_text())
                arrived.set()
            return super().send(body)

    arrived = threading.Event()
    mailer = Slow()
    assert Runner(spool, configuration(mailer), events, threading.Event(), Surroundings()).run(once=True) == 0
    assert written == [f"{suspect} 1\n"]
    assert mailer.together[0] == {"alarm"}  # and no other user's mail


def test_root_s_suspect_waits_for_root_s_mail_alone(host: Host, events: Events) -> None:
    """An alarm that was in hand when a runner ended comes before what users have waiting."""
    spool, mailer = Spool(str(host.spool)), Crowded()
    for number in range(9):
        of(spool, 4242, f"bulk {number}")
    suspect = of(spool, 0, "suspect")
    of(spool, 0, "alarm")
    (host.spool / "in-flight").write_text(f"{suspect} 0\n")
    assert Runner(spool, configuration(mailer), events, threading.Event(), Surroundings()).run(once=True) == 0
    order = list(dict.fromkeys(name for together in mailer.together for name in sorted(together)))
    assert order.index("alarm") <= 2
    assert order.index("suspect") <= 4


def test_a_suspect_that_a_runner_outlived_is_none_any_more(host: Host, events: Events) -> None:
    """Else three deaths for other reasons, a year apart, would hold a mail."""
    assert host.sendmail("-odq", "root").returncode == 0
    (host.spool / "in-flight").write_text(f"{host.queue()[0]} 2\n")
    runner = Runner(Spool(str(host.spool)), configuration(Mailer(Status.TRANSIENT)), events, threading.Event(), world(time.time))
    runner.run(once=True)
    assert len(host.queue()) == 1
    assert (host.spool / "in-flight").read_text() == ""


def test_a_message_that_killed_many_runners_is_held_and_tried_again_when_its_time_has_come(host: Host, events: Events) -> None:
    """What killed them may have been mended; an admin's `queue retry` need not wait either."""
    assert host.sendmail("-odq", "root").returncode == 0
    (host.spool / "in-flight").write_text(f"{host.queue()[0]} {DEATHS - 1}\n")
    mailer = Mailer(Status.SENT)
    runner = Runner(Spool(str(host.spool)), configuration(mailer), events, threading.Event(), world(time.time))
    assert runner.run(once=True) == 1
    assert (mailer.sent, journal.read(str(host.spool / "queue"), host.queue()[0]).state) == (0, "held")
    host.make_due()
    assert runner.run(once=True) == 0
    assert mailer.sent == 1


def test_mail_in_hand_of_which_nothing_comes_is_an_alarm(host: Host, events: Events) -> None:
    """After fifteen minutes, whoever keeps it; not because the queue was empty before, and not while something moves."""
    assert host.sendmail("-odq", "root").returncode == 0
    told: list[str] = []
    now = 2e9
    observers = Observers(Report(), alarm=Alarm(host.state, told.append))
    around = Surroundings(clock=lambda: now, monotonic=lambda: now, observers=observers)
    runner = Runner(Spool(str(host.spool)), configuration(Mailer(Status.SENT)), events, threading.Event(), around)
    index, settlement, alarm = runner._index, runner._settlement, observers.alarm
    assert alarm is not None
    now += 7200
    settlement.round_ends()  # nothing was in hand
    index.scan()
    index.advance(now)
    message = index.take()
    assert message is not None
    for _ in range(8):
        now += 110
        settlement.round_ends()
        alarm.look(now)
        assert told == []
    now += 110
    settlement.round_ends()
    alarm.look(now)
    assert len(told) == 1
    assert "nothing has come of it for 15 minutes" in told[0]


def test_a_message_s_journal_is_read_once_however_often_it_is_tried(
    host: Host, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record in the index is what the runner goes by."""
    assert host.sendmail("-odq", "root").returncode == 0
    reads: list[str] = []
    real = journal.read

    def read(directory: str | int, queue_id: str) -> journal.History:
        reads.append(queue_id)
        return real(directory, queue_id)

    monkeypatch.setattr(journal, "read", read)
    now, mailer = 2e9, Mailer(Status.TRANSIENT)
    spool = Spool(str(host.spool))
    runner = Runner(spool, configuration(mailer), events, threading.Event(), world(lambda: now))
    for _ in range(4):
        runner.run(once=True)
        now += 7200
    assert (mailer.sent, reads) == (4, [])  # the scan saw that there was none
    again = Runner(spool, configuration(mailer), events, threading.Event(), world(lambda: now))
    for _ in range(3):
        again.run(once=True)
        now += 7200
    assert (mailer.sent, reads) == (7, host.queue())
    assert real(spool.queue, host.queue()[0]).attempts == 7
    host.make_due()  # somebody else changed its time: root's hand-over, or an admin
    again.run(once=True)
    assert len(reads) == 2


def test_a_message_that_alone_is_refused_while_others_go_holds_nobody_up(host: Host, events: Events) -> None:
    """Once it suspends the others; when one of them went and it meets the same again, the refusal is its own."""
    for _ in range(2):
        assert host.sendmail("-odq", "root").returncode == 0
    now = time.time()
    runner = Runner(Spool(str(host.spool)), configuration(Mailer(Status.SENT)), events, threading.Event(), world(lambda: now))
    index, settlement = runner._index, runner._settlement
    index.scan()
    index.advance(now)
    poison, other = index.take(), index.take()
    assert poison is not None
    assert other is not None
    refused = Delivery(Outcome(Status.HELD, "denied", shared=True), now, ("root",))
    settlement.settle(poison, refused)
    assert settlement.suspension.active(now)
    settlement.settle(other, Delivery(Outcome(Status.SENT), now, ("root",)))
    assert not settlement.suspension.active(now)
    settlement.settle(poison, refused)
    assert not settlement.suspension.active(now)
    assert poison.history.state == "held"
    settlement.settle(poison, refused)  # nothing went meanwhile: it may concern all again
    assert settlement.suspension.active(now)


def test_a_hand_over_that_a_full_disk_refuses_costs_root_s_mail_no_time(
    host: Host, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was asked: the mail goes directly at the next look, not after the three minutes of a unit that never came."""
    assert host.sendmail("-odq", "root").returncode == 0
    now = time.time()
    runner = Runner(Spool(str(host.spool)), configuration(Mailer(Status.SENT)), events, threading.Event(), world(lambda: now))
    runner._index.scan()
    runner._index.advance(now)
    message = runner._index.take()
    assert message is not None

    def full(*_: object, **__: object) -> None:
        raise SpoolError("the disk is full")

    monkeypatch.setattr(journal, "append", full)
    envelope = Envelope(sender="root", recipients=("root",), uid=0, arrived=now)
    runner._settlement.settle_root_part(message, Decision(RootPart.ASK, envelope))
    assert given_up(message.history, now)
    assert message.trouble.not_before <= now


def test_sent_items_are_not_asked_of_a_message_that_went_out_in_parts(host: Host) -> None:
    """Its parts bear one Message-ID: one that is there says nothing about the other."""
    mailer = Mailer(Status.SENT)
    mailer.in_sent_items = Outcome(Status.SENT)
    relay = Relay(mailer, "pve@example.com", BOOK, save_to_sent_items=True)
    envelope = Envelope(sender="root", recipients=("a@example.com", "b@example.com"), uid=0, arrived=time.time())
    for history, requests in (
        (History(sent_to=("a@example.com",), unclear=("b@example.com",)), 1),
        (History(unclear=("a@example.com", "b@example.com")), 0),
    ):
        mailer.sent = 0
        delivery = send("0" * 18, envelope, b"Subject: x\n\ny\n", 20, relay, history, time.time())
        assert (mailer.sent, delivery.outcome.status) == (requests, Status.SENT)
        assert set(delivery.sent_to) == set(envelope.recipients)


def test_what_can_be_asked_of_nobody_now_is_not_sent_unasked(host: Host) -> None:
    """No token, or throttled: the request would meet the same."""
    mailer = Mailer(Status.SENT)
    mailer.in_sent_items = Outcome(Status.TRANSIENT, "Entra is busy", shared=True)
    relay = Relay(mailer, "pve@example.com", BOOK, save_to_sent_items=True)
    envelope = Envelope(sender="root", recipients=("a@example.com",), uid=0, arrived=time.time())
    history = History(unclear=("a@example.com",))
    delivery = send("0" * 18, envelope, b"Subject: x\n\ny\n", 20, relay, history, time.time())
    assert (mailer.sent, delivery.outcome.reason) == (0, "Entra is busy")


def test_the_original_is_kept_where_an_earlier_part_may_have_been_smaller(host: Host) -> None:
    """Who has it already got it in a form that nobody wrote down."""
    large = b"Subject: x\n\n" + b"0123456789abcdef " * 300_000
    envelope = Envelope(sender="root", recipients=("a@example.com", "b@example.com"), uid=0, arrived=time.time())
    relay = Relay(Mailer(Status.SENT), "pve@example.com", BOOK)
    for data, reduced in ((large, True), (b"Subject: x\n\ny\n", False)):
        known = History(sent_to=("a@example.com", "b@example.com"))
        delivery = send("0" * 18, envelope, data, len(data), relay, known, time.time())
        assert delivery.reduced is reduced


@pytest.mark.parametrize("proof", ["event", "boot"])
def test_a_wait_that_another_clock_ordered_is_not_waited_for(host: Host, events: Events, proof: str) -> None:
    """Deferred five hours ahead while no runner ran: an event of the future proves the clock wrong, and so does a boot."""
    assert host.sendmail("-odq", "root").returncode == 0
    (queue_id,) = host.queue()
    spool, mailer, now = Spool(str(host.spool)), Mailer(Status.SENT), 2e9
    at = now + 5 * 3600 if proof == "event" else now - 50
    journal.append(spool.queue, queue_id, Event(at, journal.ATTEMPT, "deferred", "no line", attempts=3))
    spool.defer(queue_id, now + 5 * 3600 + 240)
    if proof == "boot":
        (host.spool / "clock").write_text(f"{now - 90_000:.3f}\n")  # up for a day then, for ten seconds now
    runner = Runner(spool, configuration(mailer), events, threading.Event(), world(lambda: now, lambda: 10.0))
    assert runner.run(once=True) == 0
    assert mailer.sent == 1


def test_a_wait_of_this_boot_and_clock_is_waited_for(host: Host, events: Events) -> None:
    """Another runner begins: nothing is hurried."""
    assert host.sendmail("-odq", "root").returncode == 0
    (queue_id,) = host.queue()
    spool, mailer, now = Spool(str(host.spool)), Mailer(Status.SENT), 2e9
    (host.spool / "clock").write_text(f"{now - 1000:.3f}\n")
    journal.append(spool.queue, queue_id, Event(now - 50, journal.ATTEMPT, "deferred", "no line", attempts=3))
    spool.defer(queue_id, now + 240)
    runner = Runner(spool, configuration(mailer), events, threading.Event(), world(lambda: now, lambda: 1000.0))
    assert runner.run(once=True) == 1
    assert mailer.sent == 0
