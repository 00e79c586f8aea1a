"""One user's mail leaves room for others'."""

import os

import pytest

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.usage import Usage, blocks, grant_daily_recipients, has_left
from proxmox_graph_mail.submission import quota
from proxmox_graph_mail.submission.intake import store
from proxmox_graph_mail.submission.quota import Quota
from tests.programs import Host, Sandbox

MALLORY, ALICE = 4242, 4243


@pytest.fixture
def spool(host: Host) -> Spool:
    return Spool(str(host.spool))


def put(spool: Spool, uid: int, size: int, *, failed: bool = False) -> None:
    envelope = Envelope(sender="s", recipients=("root",), uid=uid, arrived=1.0)
    incoming = spool.accept(envelope.encode())
    incoming.write(b"x" * size)
    queue_id = incoming.commit()
    if failed:
        spool.fail(queue_id)


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(Quota, "_free", lambda _: free)


def test_a_user_s_mail_takes_no_more_than_it_leaves(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting, failed and coming in count together; others' do not."""
    disk(monkeypatch, 100_000)
    put(spool, MALLORY, 40_000)
    put(spool, MALLORY, 40_000, failed=True)
    put(spool, ALICE, 90_000)
    Quota(spool, MALLORY).settle(0, 1)
    with pytest.raises(SpoolError, match=rf"mail of uid {MALLORY} would take .* leave only"):
        store(spool, Envelope(sender="s", recipients=("root",), uid=MALLORY, arrived=1.0), [b"x" * 30_000])
    Quota(spool, ALICE).settle(0, 1)
    Quota(spool, MALLORY).settle(0, 1)  # what was refused takes nothing


def test_root_is_not_asked(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alarms are root's; everybody else is, the service user's SMTP clients too."""
    disk(monkeypatch, 0)
    for uid in (os.geteuid() or MALLORY, MALLORY):
        with pytest.raises(SpoolError, match="not enough disk space"):
            store(spool, Envelope(sender="s", recipients=("root",), uid=uid, arrived=1.0), [b"x" * (2 << 20)])
    assert os.listdir(spool.queue) == []
    store(spool, Envelope(sender="s", recipients=("root",), uid=0, arrived=1.0), [b"x" * (2 << 20)])
    assert len(spool.scan()) == 1


def test_a_growing_message_stops_when_it_exceeds_what_is_free(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """…long before it is whole, and before sixteen like it would have filled the disk."""
    disk(monkeypatch, 80 << 20)
    growing = Quota(spool, MALLORY)
    for _ in range(5):
        growing.grow(1 << 20)
    with pytest.raises(SpoolError, match="not enough disk space"):
        growing.grow(1 << 20)


def test_so_many_messages_of_one_user(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """…and no more; another's is taken."""
    monkeypatch.setattr(quota, "MESSAGES", 3)
    disk(monkeypatch, 1 << 30)
    for _ in range(4):
        put(spool, MALLORY, 1)
    with pytest.raises(SpoolError, match="uid 4242 has 3 messages waiting already"):
        Quota(spool, MALLORY).settle(0, 1)
    Quota(spool, ALICE).settle(0, 1)


def test_a_damaged_file_is_nobody_s(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not stop reception."""
    disk(monkeypatch, 10)
    incoming = spool.accept(b"no envelope\n")
    incoming.write(b"x" * 100)
    incoming.commit()
    Quota(spool, MALLORY).settle(0, 1)


def test_a_whole_message_is_measured_too(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones, of which none grows for long: what the user's mail takes by now counts when each is whole."""
    disk(monkeypatch, 100_000)
    put(spool, MALLORY, 90_000)
    with pytest.raises(SpoolError, match="leave only"):
        store(spool, Envelope(sender="s", recipients=("root",), uid=MALLORY, arrived=1.0), [b"x" * 20_000])
    assert len(os.listdir(spool.queue)) == 1


def counted(spool: Spool, uid: int) -> tuple[int, int]:
    with Usage(spool, uid) as usage:
        return usage.messages, usage.bytes


def mail(spool: Spool, uid: int, size: int = 100) -> str:
    return store(spool, Envelope(sender="s", recipients=("root",), uid=uid, arrived=1.0), [b"x" * size])


def test_files_are_looked_at_once_and_counted_from_then_on(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in the spool, a further mail costs the same."""
    disk(monkeypatch, 1 << 30)
    put(spool, MALLORY, 1000, failed=True)
    other = mail(spool, ALICE, 1000)
    mail(spool, MALLORY)
    messages, size = counted(spool, MALLORY)
    assert (messages, size) == (1, 4 * 4096)  # each file whole blocks, and a journal beside it

    def look(*_: object) -> None:
        raise AssertionError("no file is looked at")

    monkeypatch.setattr(Usage, "count", look)
    mail(spool, MALLORY, 500)
    on_disk = sum(blocks(entry.size) for entry in (*spool.scan(), *spool.scan_failed()) if entry.id != other)
    assert counted(spool, MALLORY) == (2, on_disk)


def test_what_has_left_makes_room_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent: its message and its bytes; failed: its message alone. Root's is not counted."""
    disk(monkeypatch, 1 << 30)
    mail(spool, MALLORY)
    mail(spool, MALLORY)
    _, size = counted(spool, MALLORY)
    has_left(spool, MALLORY, 1, 150)
    has_left(spool, MALLORY, 1, 0)
    assert counted(spool, MALLORY) == (0, size - 2 * 4096)
    has_left(spool, MALLORY, 1, 1 << 20)
    assert counted(spool, MALLORY) == (0, 0)
    has_left(spool, 0, 1, 1)
    assert not os.path.exists(f"{spool.root}/users/0")


def test_the_runner_waits_for_nobody_s_count(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a submission counts, which may take seconds, root's alarm goes on; nothing is left open."""
    disk(monkeypatch, 1 << 30)
    mail(spool, MALLORY)
    with Usage(spool, MALLORY) as usage:
        before = len(os.listdir("/proc/self/fd"))
        has_left(spool, MALLORY, 1, 1)
        assert len(os.listdir("/proc/self/fd")) == before
        assert usage.messages == 1
    assert counted(spool, MALLORY)[0] == 1


@pytest.mark.parametrize("line", [b"", b"x y z", b"9999 9999999999 1", b"-1 -1 -1", b"\xff" * 300])
def test_who_would_be_refused_is_counted_anew(spool: Spool, monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    """The count may be too high (an admin removed mail), or damaged; but not more than once a minute."""
    disk(monkeypatch, 1 << 30)
    monkeypatch.setattr(quota, "MESSAGES", 3)
    os.mkdir(f"{spool.root}/users")
    with open(f"{spool.root}/users/{MALLORY}", "wb") as file:
        file.write(line)
    mail(spool, MALLORY)
    assert counted(spool, MALLORY)[0] == 1
    looks: list[int] = []
    monkeypatch.setattr(Usage, "count", lambda _: looks.append(1))
    for _ in range(2):
        mail(spool, MALLORY)
    for _ in range(5):
        with pytest.raises(SpoolError, match="messages waiting already"):
            mail(spool, MALLORY)
    assert looks == []


def test_the_runner_takes_off_what_it_sent(online: Host, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a user who sends much would be counted anew each time."""
    spool = Spool(str(online.spool))
    disk(monkeypatch, 1 << 30)
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SYSLOG", online.env["PROXMOX_GRAPH_MAIL_SYSLOG"])
    for _ in range(3):
        mail(spool, MALLORY)
    assert counted(spool, MALLORY)[0] == 3
    sandbox.faults({"on": "sendMail", "do": "status", "status": 400, "code": "ErrorInvalidRecipients"})
    assert online.admin("run", "--once").returncode == 69
    messages, size = counted(spool, MALLORY)
    assert (messages, size > 0) == (0, True)
    assert len(sandbox.accepted()) == 2


def to(spool: Spool, uid: int, count: int) -> None:
    people = tuple(f"u{number}@example.com" for number in range(count))
    store(spool, Envelope(sender="s", recipients=people, uid=uid, arrived=1.0), [b"x"])


def test_a_user_s_recipients_in_a_day(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """500, unless the settings say otherwise; another user's, root's and the service user's count by themselves, or not at all."""
    disk(monkeypatch, 1 << 30)
    to(spool, MALLORY, 400)
    with pytest.raises(
        SpoolError, match=r"4242 may send to 500 .* has sent to 400, and this message is to 101 more\. Send it later"
    ):
        to(spool, MALLORY, 101)
    to(spool, MALLORY, 100)
    with pytest.raises(SpoolError, match="has sent to 500"):
        to(spool, MALLORY, 1)
    for uid in (ALICE, 0):
        to(spool, uid, 500)
    to(spool, 0, 1)
    grant_daily_recipients(spool, 501)
    to(spool, MALLORY, 1)
    grant_daily_recipients(spool, 0)
    to(spool, MALLORY, 5000)


def test_a_day_later_they_are_free_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the hour, over 24; what a clock that was ahead wrote does not count."""
    disk(monkeypatch, 1 << 30)
    now = [2_000_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    to(spool, MALLORY, 300)
    now[0] += 12 * 3600
    to(spool, MALLORY, 200)
    with pytest.raises(SpoolError):
        to(spool, MALLORY, 1)
    now[0] += 12 * 3600
    to(spool, MALLORY, 300)
    with pytest.raises(SpoolError):
        to(spool, MALLORY, 1)
    now[0] -= 40 * 3600  # the clock had been ahead
    to(spool, MALLORY, 500)


def test_what_is_refused_does_not_count(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its recipients, or for the disk."""
    disk(monkeypatch, 1 << 30)
    with pytest.raises(SpoolError):
        to(spool, MALLORY, 501)
    disk(monkeypatch, 10)
    with pytest.raises(SpoolError, match="leave only"):
        to(spool, MALLORY, 500)
    disk(monkeypatch, 1 << 30)
    to(spool, MALLORY, 500)


def test_the_settings_limit_reaches_who_accepts_mail(online: Host) -> None:
    """USER_DAILY_RECIPIENTS, which the receiver may not read, by way of the queue runner."""
    with online.config.open("a") as file:
        file.write("USER_DAILY_RECIPIENTS=3\n")
    assert online.admin("run", "--once").returncode == 0
    with online.submit_socket():
        assert online.other_user_sendmail("-odq", "a@example.com", "b@example.com").returncode == 0
        done = online.other_user_sendmail("-odq", "c@example.com", "d@example.com")
        assert done.returncode == 75
        assert b"may send to 3 recipients in 24 hours; it has sent to 2, and this message is to 2 more" in done.stderr
    assert online.sendmail("-odq", *(f"u{number}@example.com" for number in range(9))).returncode == 0
