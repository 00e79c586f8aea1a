"""A digest from its making to its end, by the real programs: nothing is lost and nothing goes twice, whatever happens between."""

import base64
import io
import os
import random
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proxmox_graph_mail.delivery.attempt import Delivery
from proxmox_graph_mail.delivery.configuration import Configuration
from proxmox_graph_mail.delivery.digest import compose
from proxmox_graph_mail.delivery.index import Index
from proxmox_graph_mail.delivery.pace import Pace
from proxmox_graph_mail.delivery.settlement import Settlement
from proxmox_graph_mail.delivery.surroundings import Surroundings
from proxmox_graph_mail.errors import ConfinedError, SettingsError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.message.mail import Mail
from proxmox_graph_mail.message.parse import parse
from proxmox_graph_mail.spool import digests, journal
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.ledger import Ledger
from proxmox_graph_mail.spool.lock import lock
from proxmox_graph_mail.spool.store import Spool
from tests.programs import PATIENCE, TREE, Host, Sandbox, eventually, subjects

KILLER = str(TREE / "tests" / "killer.py")


@pytest.fixture
def folding(online: Host, sandbox: Sandbox) -> Host:
    online.settle(sandbox.settings(DIGEST="2,60,15"))
    return online


def storm(host: Host, count: int = 6, name: str = "job", begin: int = 0) -> None:
    for number in range(begin, count):
        mail = f"Subject: Cron <root@pve1> {name} {number}\n\ncommon line\ndisk {chr(97 + number)} is slow\n".encode()
        assert host.sendmail("-odq", "root", stdin=mail).returncode == 0


def begun(host: Host, count: int = 6) -> None:
    """Two that went as they are, and the others in the queue: they are to be one mail."""
    storm(host, 2)
    assert host.admin("run", "--once").returncode == 0
    storm(host, count, begin=2)


def texts(mail: dict[str, Any]) -> str:
    """The page, and the originals in the archive."""
    found = [mail["message"]["body"]["content"]]
    for file in mail["message"].get("attachments", ()):
        if file["name"] == "mails.zip":
            packed = zipfile.ZipFile(io.BytesIO(base64.b64decode(file["contentBytes"])))
            found += [packed.read(name).decode() for name in packed.namelist()]
    return "\n".join(found)


def times(sandbox: Sandbox, count: int = 6) -> list[int]:
    """In how many different mails each original arrived: as a mail of its own, or in an archive."""
    return [
        sum(
            f"disk {chr(97 + number)} is slow\n" in texts(mail)
            for mail in {mail["message"]["internetMessageId"]: mail for mail in sandbox.accepted()}.values()
            if not mail["message"]["subject"].startswith("[") or f" {number}\n\n" in texts(mail)
        )
        for number in range(count)
    ]


def test_one_mail_for_many(folding: Host, sandbox: Sandbox) -> None:
    """Two as they are, then one: what differed, the last in full, all attached; each is sent by the log and the record."""
    begun(folding)
    ids = folding.queue()
    assert folding.admin("run", "--once").returncode == 0
    assert subjects(sandbox.accepted())[2:] == ["[4 more] Cron <root@pve1> job 5"]
    digest = sandbox.accepted()[2]["message"]
    page = digest["body"]["content"]
    assert "4 more mails like those before were sent on " in page
    assert page.count("common line") == 1
    assert [f"disk {letter} is slow" in page for letter in "abcdef"] == [False, False, False, False, False, True]
    assert [f"job {number}" in page for number in (2, 3, 4, 5)] == [True] * 4
    assert {"name": "X-Digest", "value": "4 mails, gathered by proxmox-graph-mail"} in digest["internetMessageHeaders"]
    assert times(sandbox) == [1] * 6
    assert (folding.queue(), folding.failed()) == ([], [])
    assert list((folding.spool / "digests").iterdir()) == []
    lines = folding.syslog.read()
    for queue_id in ids:
        assert any(f"{queue_id}: " in line and "status=sent" in line and "in digest" in line for line in lines)
        shown = folding.admin("queue", "show", queue_id).stdout
        assert "in digest" in shown


def test_the_runner_killed_at_every_step_of_a_digest_loses_nothing(folding: Host, sandbox: Sandbox) -> None:
    """SIGKILL before each of its changes; the next one sends what is left, and a digest that Graph has is not sent again unless the
    answer was lost."""
    killed = None
    for fatal in range(1, 400, 3):
        sandbox.control(forget=True)
        storm(folding, name=f"run {'x' * fatal}")
        command = [sys.executable, "-I", KILLER, str(fatal), str(TREE / "proxmox_graph_mail" / "admin" / "__main__.py")]
        killed = subprocess.run([*command, "run", "--once"], env=folding.env, capture_output=True, check=False, timeout=PATIENCE)
        assert b"Traceback" not in killed.stderr, killed.stderr.decode()
        if killed.returncode != -9:
            break
        folding.make_due()
        done = folding.admin("run", "--once")
        assert done.returncode == 0, (fatal, done.stderr)
        assert folding.queue() == []
        assert list((folding.spool / "digests").iterdir()) == []
        assert times(sandbox) == [1] * 6, fatal
        again = Counter(mail["message"]["internetMessageId"] for mail in sandbox.accepted())
        assert max(again.values()) <= 2, fatal
    assert killed is not None
    assert killed.returncode == 0


def test_after_an_unclear_answer_it_is_the_same_digest(folding: Host, sandbox: Sandbox) -> None:
    """The same Message-ID and the same members, though others like them came meanwhile."""
    begun(folding)
    sandbox.faults({"on": "sendMail", "do": "status_after", "status": 504, "code": "UnknownError"})
    assert folding.admin("run", "--once").returncode == 75
    storm(folding, 7, begin=6)
    folding.make_due()
    assert folding.admin("run", "--once").returncode == 0
    first, again = [mail["message"] for mail in sandbox.accepted() if mail["message"]["subject"].startswith("[4 more]")]
    assert first["internetMessageId"] == again["internetMessageId"]
    assert first["attachments"] == again["attachments"]
    assert folding.queue() == []


def test_a_member_that_an_admin_removes_is_left_out(folding: Host, sandbox: Sandbox) -> None:
    """Until it is sent; and a digest that is removed takes its members with it."""
    begun(folding)
    fourth = folding.queue()[1]
    sandbox.faults({"on": "sendMail", "status": 503, "times": 100})
    members = folding.queue()
    assert folding.admin("run", "--once").returncode == 75
    (digest,) = set(folding.queue()) - set(members)
    shown = " ".join(folding.admin("queue", "show", digest).stdout.split())
    assert f"stands for: {' '.join(members)}" in shown
    assert folding.admin("queue", "remove", fourth, "--yes").returncode == 0
    sandbox.faults()
    folding.make_due()
    assert folding.admin("run", "--once").returncode == 0
    assert subjects(sandbox.accepted())[2:] == ["[3 more] Cron <root@pve1> job 5"]
    assert times(sandbox) == [1, 1, 1, 0, 1, 1]


def test_if_the_digest_fails_its_members_go_one_by_one(folding: Host, sandbox: Sandbox) -> None:
    """Whatever Graph has against it."""
    begun(folding)
    sandbox.faults({"on": "sendMail", "status": 400, "code": "ErrorMimeContentInvalid"})
    assert folding.admin("run", "--once").returncode == 0
    assert sorted(subjects(sandbox.accepted())) == [f"Cron <root@pve1> job {number}" for number in range(6)]
    assert (folding.queue(), folding.failed()) == ([], [])
    assert any("its members go one by one" in line for line in folding.syslog.read())


def test_who_has_the_digest_does_not_get_its_members_too(folding: Host, sandbox: Sandbox) -> None:
    """One recipient is refused: the members fail for that one, each by itself, and the other has them already."""
    sandbox.control(refused=["bad@example.org"])
    for number in range(6):
        mail = f"Subject: Cron <root@pve1> job {number}\n\ncommon line\ndisk {chr(97 + number)} is slow\n".encode()
        assert folding.sendmail("-odq", "root", "bad@example.org", stdin=mail).returncode == 0
    assert folding.admin("run", "--once").returncode == 69
    assert times(sandbox) == [1] * 6
    assert len(sandbox.accepted()) == 3
    assert (folding.queue(), len(folding.failed())) == ([], 6)


def test_a_digest_that_is_removed_while_the_queue_is_suspended_is_no_work(folding: Host, sandbox: Sandbox) -> None:
    """The runner sleeps on."""
    begun(folding)
    sandbox.faults({"on": "sendMail", "status": 503, "times": 1000, "retry_after": "30"})
    assert folding.admin("run", "--once").returncode == 75
    with folding.runner() as runner:
        (digest,) = [path.name for path in (folding.spool / "digests").iterdir()]
        os.unlink(folding.spool / "queue" / digest)
        assert folding.sendmail("root", stdin=b"Subject: another\n\nx\n").returncode == 0  # which lets it look
        eventually(lambda: not list((folding.spool / "digests").iterdir()), "its members are free", 70)
        before = processor(runner.pid)
        with pytest.raises(subprocess.TimeoutExpired):  # it lives, and has nothing to do
            runner.wait(1)
        assert processor(runner.pid) - before < 0.3


def processor(pid: int) -> float:
    """Seconds of processor time that a process took."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_what_is_too_large_is_kept_beside_it(folding: Host, sandbox: Sandbox) -> None:
    """And the digest says so."""
    begun(folding, 3)
    noise = base64.b64encode(bytes(range(256)) * 14_000)
    assert folding.sendmail("-odq", "root", stdin=b"Subject: Cron <root@pve1> job 3\n\n" + noise).returncode == 0
    large = folding.queue()[1]
    assert folding.admin("run", "--once").returncode == 0
    digest = next(mail for mail in sandbox.accepted() if mail["message"]["subject"].startswith("[2 more]"))
    assert f"queue save {large} FILE" in digest["message"]["body"]["content"]
    assert (folding.spool / "kept" / large).exists()


def test_what_the_archive_has_no_room_for_is_kept(folding: Host, sandbox: Sandbox) -> None:
    """Eight mails of half a megabyte that cannot be compressed: those that fit are attached, and the mail is not made smaller."""
    begun(folding, 2)
    ids = []
    for number in range(2, 10):
        noise = base64.b64encode(random.Random(number).randbytes(450_000))
        assert (
            folding.sendmail("-odq", "root", stdin=b"Subject: Cron <root@pve1> job %d\n\n%s\n" % (number, noise)).returncode == 0
        )
    ids = folding.queue()
    assert folding.admin("run", "--once").returncode == 0
    digest = sandbox.accepted()[-1]["message"]
    packed = next(file for file in digest["attachments"] if file["name"] == "mails.zip")
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed["contentBytes"]))) as archive:
        attached = {name.split()[-1].removesuffix(".eml") for name in archive.namelist()}
    kept = {path.name for path in (folding.spool / "kept").iterdir() if len(path.name) == 18}
    assert 3 <= len(attached) < 8
    assert attached | kept == set(ids)
    assert not attached & kept


def test_a_digest_of_bombs_costs_a_bounded_time(folding: Host, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty mails that are slow to take apart: two megabytes of them are, and the last one; all are attached or kept."""
    bomb = b"".join(b"--%d\nContent-Type: multipart/mixed; boundary=%d\n\n" % (n, n + 1) for n in range(900)) + b"x" * 150_000
    for number in range(40):
        mail = b"Subject: bomb %d\nContent-Type: multipart/mixed; boundary=0\n\n%s" % (number, bomb)
        assert folding.sendmail("-odq", "root", stdin=mail).returncode == 0
    begun_at = time.monotonic()
    assert folding.admin("run", "--once").returncode == 0
    assert time.monotonic() - begun_at < 60
    digest = next(mail["message"] for mail in sandbox.accepted() if "38 more" in mail["message"]["subject"])
    packed = [file for file in digest["attachments"] if file["name"] == "mails.zip"]
    kept = list((folding.spool / "kept").iterdir())
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed[0]["contentBytes"]))) as archive:
        assert len(archive.namelist()) + len(kept) == 38


def test_a_running_runner_gathers_and_flush_does_not_wait(folding: Host, sandbox: Sandbox) -> None:
    """What is gathered is queued, and the list says why; `flush` sends it at once, as one; `flush --at-once` each by itself."""
    with folding.runner():
        for word in ("", "--at-once"):
            sandbox.control(forget=True)
            storm(folding, name=f"flush {word} x")
            for queue_id in folding.queue():
                with (folding.run_directory / "wake").open("wb") as fifo:
                    fifo.write(f"{queue_id}\n".encode())
            eventually(
                lambda: len(sandbox.accepted()) == 2 and len([1 for row in folding.rows() if "gathered" in row["reason"]]) == 4,
                "four are gathered",
            )
            assert {row["state"] for row in folding.rows()} == {"queued"}
            times = [(folding.spool / "queue" / queue_id).stat().st_mtime for queue_id in folding.queue()]
            assert min(times) > time.time()  # else the watch would take it for mail that does not move
            assert folding.admin("queue", "flush", *([word] if word else [])).returncode == 0
            assert len(sandbox.accepted()) == (6 if word else 3)


def test_a_test_mail_is_never_gathered(folding: Host, sandbox: Sandbox) -> None:
    """Somebody waits for it."""
    with folding.runner():
        for _ in range(4):
            assert folding.admin("test").returncode == 0
    assert len(sandbox.accepted()) == 4


def test_an_alarm_behind_450_mails_of_a_job_is_in_the_inbox_at_once(online: Host, sandbox: Sandbox) -> None:
    """With the settings as they come: Exchange sends 30 a minute in order of arrival, and the alarm is among them."""
    online.settle(sandbox.settings(MAILBOX_RATE="30", MAILBOX_DAILY_RECIPIENTS="10000", DIGEST="5,60,15"))
    for number in range(450):
        (online.spool / "queue" / f"{int(1e15) + number:013X}00000").write_bytes(
            b'{"version":1,"arrived":1000000000.0,"uid":0,"sender":"root","recipients":["root"],"full_name":"","notify":""}\n'
            b"Subject: Cron <root@pve1> job %d\n\nline %d of it\n" % (number, number)
        )
    assert online.sendmail("-odq", "root", stdin=b"Subject: FENCE: pve2\nImportance: high\n\nx\n").returncode == 0
    assert online.admin("run", "--once").returncode == 0
    assert "FENCE: pve2" in sandbox.control()["inbox"]
    assert "FENCE: pve2" in subjects(sandbox.accepted())[:30]
    text = "\n".join(texts(mail) for mail in sandbox.accepted())
    assert [number for number in range(450) if f"line {number} of it\n" not in text] == []


def test_what_is_too_fast_waits_at_exchange_and_what_is_too_much_bounces(online: Host, sandbox: Sandbox) -> None:
    """The stand-in does what Exchange does after 202: 30 a minute, in order of arrival."""
    for number in range(40):
        online.sendmail("-odq", "root", stdin=b"Subject: report %d\n\nx\n" % number)
    assert online.admin("run", "--once").returncode == 0
    assert len(sandbox.control()["inbox"]) == 30
    assert len(sandbox.control(clock=61.0)["inbox"]) == 40


def test_a_retried_member_lets_its_digest_go(folding: Host, sandbox: Sandbox) -> None:
    """`queue retry` says that it is retried now."""
    begun(folding)
    member = folding.queue()[0]
    sandbox.faults({"on": "sendMail", "status": 503, "times": 1000})
    assert folding.admin("run", "--once").returncode == 75
    digest = digests.waiting(Spool(str(folding.spool)))[member]
    path = folding.spool / "queue" / digest
    os.utime(path, (2e9, 2e9))
    held = lock(str(folding.spool))  # else a pass would begin, and live longer than this test
    assert held is not None
    assert folding.admin("queue", "retry", member).returncode == 0
    os.close(held)
    assert path.stat().st_mtime == 0


def test_a_member_that_cannot_be_taken_apart_costs_its_line_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is attached as it is; if it is the last one, there is nothing to show, and that is said."""
    storm(host, 3)
    ids = tuple(host.queue())
    envelope = Envelope(sender="root", recipients=("root",), uid=0, arrived=2e9, members=ids)
    for broken, fails in ((b"job 0", False), (b"job 2", True)):

        def apart(data: bytes, broken: bytes = broken) -> Mail:
            if broken in data:
                raise ConfinedError("no process")
            return parse(data)

        monkeypatch.setattr("proxmox_graph_mail.delivery.digest.taken_apart", apart)
        if fails:
            with pytest.raises(ConfinedError):
                compose(Spool(str(host.spool)), envelope, "pve1")
        else:
            made = compose(Spool(str(host.spool)), envelope, "pve1")
            assert made is not None
            assert (made.left_out, made.mail.subject) == ((), "[3 more] Cron <root@pve1> job 2")


def test_what_a_digest_s_history_says_is_its_members_too(host: Host) -> None:
    """It is given up untried, and some have it by an earlier attempt: its members do not go to those."""
    storm(host, 2)
    spool, ids = Spool(str(host.spool)), tuple(host.queue())
    digest = digests.make(spool, Envelope(sender="root", recipients=("root",), uid=0, arrived=2e9, members=ids), b"\n")
    index = Index(spool)
    index.claimed, _ = digests.members(spool)
    index.scan()
    index.advance(2e9)
    message = next(one for one in index if one.id == digest)
    index.happened(message, Event(2e9, journal.ATTEMPT, "deferred", "busy", sent_to=("a@example.com",)))
    configuration = Configuration(lambda: (_ for _ in ()).throw(SettingsError("none")), dict)
    settlement = Settlement(spool, index, configuration, Surroundings(), Pace(Ledger(spool.root), lambda: 2e9))
    settlement.settle(message, Delivery(Outcome(Status.FAILED, "too old")), tried=False)
    assert [journal.read(spool.queue, queue_id).sent_to for queue_id in ids] == [("a@example.com",)] * 2
    assert host.queue() == list(ids)
