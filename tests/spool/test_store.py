"""The spool's states and what may lie in it besides messages."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proxmox_graph_mail import light_os
from proxmox_graph_mail.delivery.queued import Queued
from proxmox_graph_mail.errors import SpoolAccessError, SpoolError
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.lock import lock
from proxmox_graph_mail.spool.store import FARTHEST, Spool, is_id
from proxmox_graph_mail.spool.upkeep import FAILED_AGE, LEFTOVER_AGE, expire, foreign, sweep
from proxmox_graph_mail.spool.watch import outcome_of
from proxmox_graph_mail.submission.mailq import listing
from tests.programs import NOBODY, Host


@pytest.fixture
def spool(host: Host) -> Spool:
    return Spool(str(host.spool))


def happened(state: str, reason: str, time: float = 5.0) -> Event:
    return Event(time, journal.ATTEMPT, state, reason)


def put(spool: Spool, content: bytes = b"body") -> str:
    incoming = spool.accept(b'{"version":1}\n')
    incoming.write(content)
    return incoming.commit()


def test_ids_are_ids_and_sort_by_time(spool: Spool) -> None:
    """Eighteen upper-case hexadecimal digits, the first thirteen the time in microseconds."""
    ids = [put(spool) for _ in range(20)]
    assert all(is_id(queue_id) for queue_id in ids)
    assert ids == sorted(ids)
    assert [entry.id for entry in spool.scan()] == ids


@pytest.mark.parametrize("name", ["", "x", "../../etc/passwd", "A" * 17, "A" * 19, "a" * 18, "A" * 17 + "/", "." * 18])
def test_nothing_else_is_an_id(name: str) -> None:
    """What a user types becomes part of a path only if it is an ID."""
    assert not is_id(name)


def test_junk_never_hides_the_messages(spool: Spool, host: Host) -> None:
    """Foreign names, directories, links, FIFOs and half-written files in queue/ are passed over."""
    good = put(spool)
    queue = host.spool / "queue"
    (queue / "README").write_text("hello")
    (queue / ("0" * 18)).mkdir()
    (queue / ("1" * 18)).symlink_to("/etc/passwd")
    os.mkfifo(queue / ("2" * 18))
    (queue / ("." + "3" * 18)).write_text("half")
    (queue / os.fsdecode(b"\xff\xfe")).write_text("bad name")
    (queue / ("4" * 18 + ".log")).write_text("log without its message")
    assert [entry.id for entry in spool.scan()] == [good]
    assert len(foreign(spool)) == 5
    with pytest.raises(SpoolError):
        spool.open("1" * 18)
    with pytest.raises(SpoolError):
        spool.open("2" * 18)
    assert sweep(spool, time.time()) == []
    assert (queue / ("4" * 18 + ".log")).exists()  # its message may be on its way
    later = time.time() + LEFTOVER_AGE + 1
    assert sweep(spool, later) == ["." + "3" * 18]
    assert not (queue / ("4" * 18 + ".log")).exists()


def test_the_state_is_the_directory_and_the_time(spool: Spool, host: Host) -> None:
    """defer sets mtime; fail and requeue rename, log and all; remove unlinks both."""
    queue_id = put(spool)
    journal.append(spool.queue, queue_id, happened("deferred", "x"))
    assert spool.due(queue_id) == 0
    spool.defer(queue_id, 2_000_000_000)
    assert spool.due(queue_id) == 2_000_000_000
    spool.fail(queue_id)
    assert spool.due(queue_id) is None
    assert journal.read(spool.failed, queue_id).reason == "x"
    assert [entry.id for entry in spool.scan_failed()] == [queue_id]
    spool.requeue(queue_id)
    assert (host.failed(), spool.due(queue_id)) == ([], 0)
    spool.remove(queue_id)
    assert os.listdir(spool.queue) == []
    spool.remove(queue_id)  # gone already: no error
    spool.defer(queue_id, 5)


def test_a_log_follows_its_message_after_a_crash_between_the_two(spool: Spool, host: Host) -> None:
    """Who has a mail already must not be forgotten."""
    queue_id = put(spool)
    journal.append(spool.queue, queue_id, happened("deferred", "x"))
    os.rename(host.spool / "queue" / queue_id, host.spool / "failed" / queue_id)
    sweep(spool, time.time() + LEFTOVER_AGE + 1)
    assert journal.read(spool.failed, queue_id).reason == "x"
    os.rename(host.spool / "failed" / queue_id, host.spool / "queue" / queue_id)
    sweep(spool, time.time() + LEFTOVER_AGE + 1)
    assert journal.read(spool.queue, queue_id).reason == "x"


def test_a_time_that_no_attempt_can_have_is_due() -> None:
    """A host whose clock was years ahead for a minute must not sit on its mail until then."""

    def is_due(due: float) -> bool:
        return Queued("x", due=due).waits_until(1000) <= 1000

    assert is_due(0)
    assert is_due(999)
    assert not is_due(1001)
    assert not is_due(1000 + FARTHEST)
    assert is_due(1001 + FARTHEST)


def test_one_runner_at_a_time(spool: Spool) -> None:
    """The lock is a flock on a file that is never unlinked."""
    first = lock(spool.root)
    assert first is not None
    assert lock(spool.root) is None
    os.close(first)
    again = lock(spool.root)
    assert again is not None
    os.close(again)
    assert Path(spool.root, "lock").exists()


def test_an_absent_spool_is_an_access_error(tmp_path: Path) -> None:
    """…so that the submit socket is tried."""
    with pytest.raises(SpoolAccessError):
        Spool(str(tmp_path / "nowhere")).accept(b"{}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="files of two owners need root")
def test_root_gives_its_files_to_the_spool_s_owner(host: Host, spool: Spool) -> None:
    """Only an owner may set a file's time, and the time is the schedule."""
    os.chown(host.spool / "queue", NOBODY, NOBODY)
    assert host.sendmail("-odq", "root").returncode == 0
    (queue_id,) = host.queue()
    assert (host.spool / "queue" / queue_id).stat().st_uid == NOBODY


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forking beside syslog's thread, which sleeps
@pytest.mark.skipif(os.geteuid() != 0, reason="files of two owners need root")
def test_a_file_that_root_left_its_own_is_taken_over_by_copy(host: Host, spool: Spool) -> None:
    """Root in a sandbox without CAP_CHOWN: the service user can still defer the mail, and its bytes stay."""
    queue_id = put(spool, b"precious")
    for path in (host.spool, host.spool / "queue"):
        os.chown(path, NOBODY, NOBODY)
    os.chown(host.spool / "queue" / queue_id, 0, NOBODY)
    before = host.message(queue_id)
    child = os.fork()
    if child == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        spool.defer(queue_id, 2_000_000_000)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert spool.due(queue_id) == 2_000_000_000
    assert host.message(queue_id) == before
    assert (host.spool / "queue" / queue_id).stat().st_uid == NOBODY


def test_the_listing_has_the_contract_s_fields_and_shows_damaged_files(spool: Spool, host: Host) -> None:
    """id, state, arrived, sender, recipients, uid, size, attempts, next_attempt, reason."""
    host.sendmail("-odq", "-f", "me", "a@example.com", stdin=b"12345")
    put(spool)  # its first line is no envelope
    good, damaged = listing(spool)
    wanted = {"id", "state", "arrived", "sender", "recipients", "uid", "size", "attempts", "next_attempt", "reason"}
    assert wanted <= good.keys()
    assert (good["state"], good["sender"], good["recipients"], good["size"]) == ("queued", "me", ["a@example.com"], 5)
    assert damaged["reason"].startswith("damaged: ")


def test_a_discarded_message_leaves_nothing(spool: Spool) -> None:
    """No file, no descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    spool.accept(b"{}\n").discard()
    assert os.listdir(spool.queue) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_outcome_is_told_when_the_message_is_where_it_belongs(spool: Spool) -> None:
    """The log says failed an instant before the move; until then there is no outcome, and never that it is still queued."""
    queue_id = put(spool)
    assert outcome_of(spool, queue_id) is None
    journal.append(spool.queue, queue_id, happened("failed", "refused"))
    assert outcome_of(spool, queue_id) is None
    spool.fail(queue_id)
    assert outcome_of(spool, queue_id) == (69, "refused")
    other = put(spool)
    journal.append(spool.queue, other, happened("deferred", "busy"))
    assert outcome_of(spool, other, since=6.0) is None
    assert outcome_of(spool, other, since=4.0) == (75, "busy")
    spool.remove(other)
    assert outcome_of(spool, other) == (0, "sent")


@pytest.mark.parametrize("change", ["remove", "fail", "keep", "requeue"])
def test_a_change_of_state_is_on_the_disk_before_it_is_believed(
    spool: Spool, host: Host, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The directory is fsynced behind the unlink or rename: a mail that was sent must not come back with the power."""
    queue_id = put(spool)
    if change == "requeue":
        spool.fail(queue_id)
    calls: list[tuple[str, str]] = []
    real = {name: getattr(os, name) for name in ("unlink", "rename", "fsync")}

    def recorded(name: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            place = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else str(arguments[0])
            calls.append((name, place))
            return real[name](*arguments, **options)

        return call

    for name in real:
        monkeypatch.setattr(light_os, name, recorded(name))
    steps = {"remove": lambda: spool.remove(queue_id), "fail": lambda: spool.fail(queue_id),
             "keep": lambda: spool.keep(queue_id, 5.0), "requeue": lambda: spool.requeue(queue_id)}  # fmt: skip
    steps[change]()
    source = spool.failed if change == "requeue" else spool.queue
    moved = calls.index(("unlink" if change == "remove" else "rename", f"{source}/{queue_id}"))
    assert ("fsync", source) in calls[moved:]
    target = {"fail": spool.failed, "keep": spool.kept, "requeue": spool.queue}.get(change, source)
    assert ("fsync", target) in calls[moved:]


def test_a_message_that_is_retried_is_never_in_the_queue_without_its_journal(
    spool: Spool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner that sees it at that moment must see who has it already."""
    queue_id = put(spool)
    journal.append(spool.queue, queue_id, happened("failed", "x")._replace(sent_to=("a@example.com",)), durable=True)
    spool.fail(queue_id)
    real, seen = os.rename, []

    def rename(source: str, target: str, **options: int) -> None:
        real(source, target, **options)
        if spool.due(queue_id) is not None:
            seen.append(journal.read(spool.queue, queue_id).sent_to)

    monkeypatch.setattr(light_os, "rename", rename)
    spool.requeue(queue_id)
    assert seen
    assert set(seen) == {("a@example.com",)}


def test_a_disk_that_takes_half_a_line_takes_none(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durable or an error: a torn line would be passed over, and swallow the next one."""
    queue_id = put(spool)
    sent = happened("deferred", "x")._replace(sent_to=("a@example.com",))
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
    with pytest.raises(SpoolError, match="No space left"):
        journal.append(spool.queue, queue_id, sent, durable=True)
    monkeypatch.setattr(os, "write", real)
    assert Path(f"{spool.queue}/{queue_id}.log").read_bytes() == b""
    journal.append(spool.queue, queue_id, sent, durable=True)
    assert journal.read(spool.queue, queue_id).sent_to == ("a@example.com",)


def test_a_torn_line_does_not_swallow_the_next(spool: Spool) -> None:
    """What a crash in the middle of a line leaves has no newline."""
    queue_id = put(spool)
    Path(f"{spool.queue}/{queue_id}.log").write_bytes(b'{"time": 1')
    journal.append(spool.queue, queue_id, happened("deferred", "x")._replace(sent_to=("a@example.com",)), durable=True)
    assert journal.read(spool.queue, queue_id).sent_to == ("a@example.com",)


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root that could be made to write elsewhere")
def test_root_s_journal_line_is_not_written_to_a_second_name_of_another_file(spool: Spool) -> None:
    """The directory is the service user's, who could link a file of root's there."""
    queue_id = put(spool)
    victim = Path(spool.root) / "root-s-own"
    victim.write_text("as it was")
    os.link(victim, f"{spool.queue}/{queue_id}.log")
    with pytest.raises(SpoolError):
        journal.append(spool.queue, queue_id, happened("deferred", "x"), durable=True)
    assert victim.read_text() == "as it was"


def test_a_disk_that_fails_at_close_has_the_mail_all_the_same(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both fsyncs went well: whoever heard 75 would send it again."""
    incoming = spool.accept(Envelope(sender="s", recipients=("root",), uid=0, arrived=1.0).encode())
    incoming.write(b"x")
    real = os.close

    def close(fd: int) -> None:
        real(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(light_os, "close", close)
    queue_id = incoming.commit()
    monkeypatch.undo()
    assert spool.due(queue_id) == 0


def test_root_s_urge_follows_no_link(spool: Spool, tmp_path: Path) -> None:
    """The spool is the service user's, `sendmail -q` may be root's."""
    os.rmdir(spool.queue)
    os.symlink(tmp_path, spool.queue)
    with pytest.raises(SpoolError):
        spool.urge()
    assert os.listdir(tmp_path) == [] or ".urge" not in os.listdir(tmp_path)


def test_a_user_s_failed_mail_goes_after_thirty_days_and_root_s_stays(spool: Spool) -> None:
    """failed/ must not grow without bound by what anybody may send."""
    ids = {}
    for uid in (0, 1000):
        incoming = spool.accept(Envelope(sender="s", recipients=("root",), uid=uid, arrived=1.0).encode())
        ids[uid] = incoming.commit()
        spool.fail(ids[uid])
    assert expire(spool, time.time() + FAILED_AGE - 60) == []
    assert expire(spool, time.time() + FAILED_AGE + 60) == [ids[1000]]
    assert [entry.id for entry in spool.scan_failed()] == [ids[0]]
