"""What is not small is taken apart in a process of its own; what that process cannot do is outlined, or tried again."""

import pickle
import signal
import time
from pathlib import Path

import pytest

from proxmox_graph_mail.errors import ConfinedError
from proxmox_graph_mail.message import confined
from proxmox_graph_mail.message.confined import SMALL, taken_apart
from proxmox_graph_mail.message.parse import parse
from tests.programs import Host, Sandbox

LINE = b"INFO: a line of a long log of a backup\n"
LONG = b"From: root@pve1\nSubject: vzdump backup status\n\n" + LINE * (2 * SMALL // len(LINE))
IMPORT = (
    f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); from proxmox_graph_mail.message import confined as c; "
)


def test_a_mail_reads_the_same_there_as_here() -> None:
    """Text, page, attachments, and what was odd about it."""
    mixed = (
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n" + LONG + b"\n--b\n"
        b"Content-Type: application/gzip\nContent-Disposition: attachment; filename=a.gz\n\n\x1f\x8b\xff\n--b--\n"
    )
    for data in (LONG, mixed):
        assert taken_apart(data) == parse(data)
        assert taken_apart(data).defects == parse(data).defects


def test_what_is_small_costs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reports of every night."""
    monkeypatch.setattr(confined, "_PROGRAM", "raise SystemExit(1)")
    assert taken_apart(b"Subject: x\n\n" + b"y" * (SMALL - 20)).subject == "x"


def test_what_takes_too_long_is_outlined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel ends the process; subject and sender are told, and the whole is attached."""
    forever = IMPORT + "c.SECONDS = 1\ndef parse(data):\n    while True: pass\nc.parse = parse; c.main()"
    monkeypatch.setattr(confined, "_PROGRAM", forever)
    begun = time.monotonic()
    mail = taken_apart(LONG)
    assert time.monotonic() - begun < 10
    assert (mail.subject, mail.attachments[0].content) == ("vzdump backup status", LONG)
    assert "takes too long" in (mail.text or "")


def test_what_takes_too_much_memory_is_outlined() -> None:
    """Each of some million short lines is a hundred bytes to the parser."""
    data = b"Subject: many lines\n\n" + b"\xe9\xe4\xfc\n" * 2_500_000
    mail = taken_apart(data)
    assert (mail.subject, mail.attachments[0].content) == ("many lines", data)
    assert "too much memory" in (mail.text or "")


@pytest.mark.parametrize("end", ["raise SystemExit(1)", f"import os; os.kill(os.getpid(), {int(signal.SIGTERM)})"])
def test_a_process_that_could_not_work_says_nothing_about_the_mail(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """A missing module in the middle of an upgrade, a stop of the unit: the mail is tried again as it is."""
    monkeypatch.setattr(confined, "_PROGRAM", end)
    with pytest.raises(ConfinedError, match="status"):
        taken_apart(LONG)


def test_its_limits_are_set_before_the_parser_sees_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds, and five times the size and eighty megabytes."""
    monkeypatch.setattr(
        confined, "_PROGRAM",
        IMPORT + "import resource as r; c.parse = lambda data: (r.getrlimit(r.RLIMIT_CPU)[0], r.getrlimit(r.RLIMIT_AS)[0]); c.main()",
    )  # fmt: skip
    assert taken_apart(LONG) == (10, 5 * len(LONG) + (80 << 20))  # type: ignore[comparison-overlap]
    assert pickle.loads(pickle.dumps(parse(LONG))) == parse(LONG)


def test_a_long_text_of_many_bytes_arrives_with_its_beginning_and_its_end(online: Host, sandbox: Sandbox) -> None:
    """20 MB of text: the page shows both ends, and all of it is attached, as bytes."""
    data = b"Subject: long\n\nthe first line\n" + "Zeile mit ümlaut und mehr davon\n".encode() * 600_000 + b"the last line\n"
    assert online.sendmail("-odq", "root", stdin=data).returncode == 0
    assert online.admin("queue", "flush").returncode == 0
    (mail,) = sandbox.accepted()
    page = mail["message"]["body"]["content"]
    assert "the first line" in page
    assert "the last line" in page
    assert "lines are left out here; all of it is attached as message.txt" in page
    assert [attachment["name"] for attachment in mail["message"]["attachments"]] == ["message.txt.gz"]
