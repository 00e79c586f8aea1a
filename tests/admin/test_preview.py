"""`preview`: what Graph would get."""

import json

from tests.message.test_corpus import CORPUS
from tests.programs import Host, Sandbox


def test_a_file_s_mail_is_summed_up(online: Host, sandbox: Sandbox) -> None:
    """Recipients and why, form, body, attachments with sizes; nothing is sent or queued."""
    done = online.admin("preview", str(CORPUS / "script-with-attachment.eml"), "--to", "root", "--to", "a@example.org")
    assert done.returncode == 0
    for words in (
        "subject:    ZFS usage of the week", "resolves:   root -> admin@example.com", "a@example.org", "form:       JSON, in one request",
        "attached:   usage büro.csv (text/csv, 1 kB)", "<pve@example.com>",
    ):  # fmt: skip
        assert words in done.stdout, done.stdout
    assert (sandbox.accepted(), online.queue()) == ([], [])


def test_standard_input_and_the_header_s_recipients(online: Host) -> None:
    """As -t; what was repaired is said."""
    done = online.admin("preview", stdin=b"To: ops\nSubject: a\rb\n\nx\n")
    assert "resolves:   ops -> admin@example.com" in done.stdout
    assert "repaired:   bare CR or NUL in the header" in done.stdout


def test_json_and_the_page(online: Host) -> None:
    """--json is the Graph message, --html the page."""
    page = online.folder / "page.html"
    done = online.admin("preview", "--json", "--html", str(page), stdin=b"Subject: s\n\n<b> & text\n")
    message = json.loads(done.stdout)
    assert message["subject"] == "s"
    policy, content = page.read_text().split("\n", 1)
    assert "Content-Security-Policy" in policy
    assert "default-src 'none'" in policy
    assert content == message["body"]["content"]
    assert "&lt;b&gt; &amp; text" in page.read_text()


def test_what_turns_text_round_is_escaped(online: Host) -> None:
    """U+202E, U+2066, U+200F, U+2028: an admin's terminal must show what is there."""
    odd = "\u202e\u2066\u200f\u2028"
    done = online.admin("preview", "--json", stdin=f"Subject: s\nX-Odd: {odd}\n\n{odd}ü\n".encode())
    assert not set(odd) & set(done.stdout)
    assert json.loads(done.stdout)["body"]["content"].count("\u202e") == 1
    assert "ü" in done.stdout


def test_a_message_of_the_queue(online: Host) -> None:
    """By its ID, with its own envelope; one that is too large says what would become of it."""
    online.sendmail("-odq", "someone@example.org", stdin=b"Subject: queued\n\n" + b"line\n" * 1_000_000)
    (queue_id,) = online.queue()
    done = online.admin("preview", queue_id)
    assert "to:         someone@example.org" in done.stdout
    assert "smaller:    The text is cut in the middle" in done.stdout
    assert "Mail.ReadWrite" in done.stdout


def test_what_is_not_there_is_said(online: Host) -> None:
    """One sentence, 65."""
    for source in ("/nowhere", "0" * 18):
        done = online.admin("preview", source)
        assert (done.returncode, done.stdout) == (65, "")
        assert len(done.stderr.splitlines()) == 1


def test_a_page_that_cannot_be_written_is_said(online: Host) -> None:
    """The path, and why; not "unforeseen"."""
    done = online.admin("preview", "--html", "/nope/page.html", stdin=b"Subject: x\n\nx\n")
    assert (done.returncode, done.stderr.count("\n")) == (66, 1)
    assert "cannot write /nope/page.html: No such file or directory" in done.stderr
