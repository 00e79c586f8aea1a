"""Mails that are larger than a Graph request arrive, smaller; and the original is kept."""

import gzip
import os
import random
import time
from base64 import b64decode
from email.message import EmailMessage

import pytest

from proxmox_graph_mail.spool.store import KEPT_AGE
from tests.programs import Host, Sandbox, subjects

NOISE = random.Random(3).randbytes(6_000_000)
LOG = "".join(f"INFO: line {number}\n" for number in range(300_000))


def large(subject: str = "large") -> bytes:
    """A log that compresses, a dump that does not, a note."""
    mail = EmailMessage()
    mail["Subject"] = subject
    mail.set_content("see the log\n")
    mail.add_attachment(LOG, filename="backup.log")
    mail.add_attachment(NOISE, maintype="application", subtype="octet-stream", filename="dump.bin")
    return mail.as_bytes()


def kept(host: Host) -> list[str]:
    folder = host.spool / "kept"
    return sorted(name for name in os.listdir(folder) if not name.endswith(".log")) if folder.exists() else []


def test_a_large_mail_arrives_smaller_and_its_original_is_kept(online: Host, sandbox: Sandbox) -> None:
    """What was left out is named at its top and in the log, with the command that gets it; the original is there to the byte."""
    message = large()
    assert online.sendmail("-odq", "root", stdin=message).returncode == 0
    (queue_id,) = online.queue()
    assert online.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    content = mail["message"]["body"]["content"]
    assert f"Compressed: backup.log ({len(LOG) / 1e6:.1f} MB)." in content
    assert "Left out: dump.bin (6.0 MB)." in content
    assert f"proxmox-graph-mail queue save {queue_id} FILE" in content
    assert "see the log" in content
    (file,) = mail["message"]["attachments"]
    assert file["name"] == "backup.log.gz"
    assert gzip.decompress(b64decode(file["contentBytes"])).decode() == LOG
    assert any(
        f"{queue_id}: " in line and "status=sent" in line and "Left out: dump.bin" in line for line in online.syslog.read()
    )
    assert (online.queue(), kept(online)) == ([], [queue_id])
    target = online.folder / "original.eml"
    assert online.admin("queue", "save", queue_id, str(target)).returncode == 0
    assert target.read_bytes() == message
    assert target.stat().st_mode & 0o777 == 0o600


def test_saving_never_overwrites_and_says_what_it_cannot_find(online: Host, sandbox: Sandbox) -> None:
    """A file that is there, an ID that is none."""
    online.sendmail("-odq", "root", stdin=large())
    (queue_id,) = online.queue()
    there = online.folder / "there"
    there.write_text("mine")
    done = online.admin("queue", "save", queue_id, str(there))
    assert (done.returncode, there.read_text()) == (66, "mine")
    assert "File exists" in done.stderr
    for wrong in ("../../etc/passwd", "0" * 18):
        done = online.admin("queue", "save", wrong)
        assert done.returncode == 65
        assert "no such message" in done.stderr


def test_an_original_is_kept_for_thirty_days(online: Host, sandbox: Sandbox) -> None:
    """Not a day less, and not for ever."""
    online.sendmail("-odq", "root", stdin=large())
    online.admin("run", "--once")
    (queue_id,) = kept(online)
    path = online.spool / "kept" / queue_id
    assert abs(path.stat().st_mtime - time.time()) < 60
    for age, left in ((KEPT_AGE - 3600, [queue_id]), (KEPT_AGE + 3600, [])):
        os.utime(path, (time.time() - age,) * 2)
        assert online.admin("run", "--once").returncode == 0
        assert kept(online) == left


def test_a_large_mail_that_is_refused_stays_whole(online: Host, sandbox: Sandbox) -> None:
    """Deferred and failed mails are originals anyway; sent at last, it is kept."""
    online.sendmail("-odq", "root", stdin=large())
    (queue_id,) = online.queue()
    sandbox.faults({"on": "sendMail", "status": 500, "code": "x"})
    assert online.admin("run", "--once").returncode == 75
    assert (online.queue(), kept(online)) == ([queue_id], [])
    online.make_due()
    assert online.admin("run", "--once").returncode == 0
    assert (online.queue(), kept(online)) == ([], [queue_id])


def test_large_mails_do_not_hold_the_small_ones(online: Host, sandbox: Sandbox) -> None:
    """One large one at a time is taken apart, beside the others."""
    for number in range(3):
        online.sendmail("-odq", "root", stdin=large(f"large {number}") + b"\n" * 4_000_000)
    for number in range(5):
        online.sendmail("-odq", "root", stdin=f"Subject: small {number}\n\nx\n".encode())
    assert online.admin("run", "--once").returncode == 0
    order = subjects(sandbox.accepted())
    assert len(order) == 8
    assert sorted(order[-2:]) == ["large 1", "large 2"]  # the small ones went while the first large one was taken apart


@pytest.mark.parametrize("size", [3_990_000, 4_010_000])
def test_the_border(online: Host, sandbox: Sandbox, size: int) -> None:
    """Just under and just over: each arrives."""
    online.sendmail("-odq", "root", stdin=b"Subject: border\n\n" + b"x" * 70 + b"\n" + b"y" * (size - 71))
    assert online.admin("run", "--once").returncode == 0
    assert subjects(sandbox.accepted()) == ["border"]
