"""One user's mail leaves room for others'."""

import os

import pytest

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.submission import quota
from proxmox_graph_mail.submission.intake import store
from proxmox_graph_mail.submission.quota import Quota
from tests.programs import Host

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
    Quota(spool, MALLORY).settle()
    coming = spool.accept(Envelope(sender="s", recipients=("root",), uid=MALLORY, arrived=1.0).encode())
    coming.write(b"x" * 30_000)
    with pytest.raises(SpoolError, match=rf"mail of uid {MALLORY} would take .* leave only"):
        Quota(spool, MALLORY).settle()
    Quota(spool, ALICE).settle()
    coming.discard()
    Quota(spool, MALLORY).settle()


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
        Quota(spool, MALLORY).settle()
    Quota(spool, ALICE).settle()


def test_a_damaged_file_is_nobody_s(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not stop reception."""
    disk(monkeypatch, 10)
    incoming = spool.accept(b"no envelope\n")
    incoming.write(b"x" * 100)
    incoming.commit()
    Quota(spool, MALLORY).settle()


def test_a_whole_message_is_measured_too(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones, of which none grows for long: what the user's mail takes by now counts when each is whole."""
    disk(monkeypatch, 100_000)
    put(spool, MALLORY, 90_000)
    with pytest.raises(SpoolError, match="leave only"):
        store(spool, Envelope(sender="s", recipients=("root",), uid=MALLORY, arrived=1.0), [b"x" * 20_000])
    assert len(os.listdir(spool.queue)) == 1
