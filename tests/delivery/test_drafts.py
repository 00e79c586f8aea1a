"""Large mails by way of a draft, where the app has Mail.ReadWrite."""

import random
from base64 import b64decode
from email.message import EmailMessage
from typing import Any

import pytest

from tests.programs import Host, Sandbox

NOISE = random.Random(5).randbytes(20_000_000)


def large(size: int = 9_000_000) -> bytes:
    """A picture that the page shows, a small file, a large one."""
    mail = EmailMessage()
    mail["Subject"] = "large"
    mail.set_content("plain")
    mail.add_alternative('<p>see <img src="cid:logo@x"></p>', subtype="html")
    page = mail.get_payload()[1]  # type: ignore[index]
    assert isinstance(page, EmailMessage)
    page.add_related(NOISE[:5000], maintype="image", subtype="png", cid="<logo@x>", filename="logo.png")
    mail.add_attachment(NOISE[:2_500_000], maintype="application", subtype="octet-stream", filename="middle.bin")
    mail.add_attachment(NOISE[:2_800_000], maintype="application", subtype="octet-stream", filename="second.bin")
    mail.add_attachment(NOISE[:size], maintype="application", subtype="octet-stream", filename="dump.bin")
    return mail.as_bytes()


@pytest.fixture
def writing(online: Host, sandbox: Sandbox) -> Host:
    """A host whose app may write drafts."""
    sandbox.control(roles=["Mail.Send", "Mail.ReadWrite"])
    return online


def files(mail: dict[str, Any]) -> dict[str, bytes]:
    return {file["name"]: b64decode(file["contentBytes"]) for file in mail["message"]["attachments"]}


def arrived_whole(host: Host, sandbox: Sandbox, size: int = 9_000_000) -> None:
    (mail,) = sandbox.accepted()
    assert files(mail) == {
        "logo.png": NOISE[:5000], "middle.bin": NOISE[:2_500_000], "second.bin": NOISE[:2_800_000], "dump.bin": NOISE[:size],
    }  # fmt: skip
    assert '<img src="cid:logo@x">' in mail["message"]["body"]["content"]
    assert "larger than Microsoft Graph takes" not in mail["message"]["body"]["content"]
    assert (host.queue(), host.failed()) == ([], [])
    assert not (host.spool / "kept").exists() or list((host.spool / "kept").iterdir()) == []
    assert sandbox.control()["drafts_left"] == 0
    assert sandbox.counts()["leaked"] == 0


def test_a_large_mail_arrives_whole(writing: Host, sandbox: Sandbox) -> None:
    """Small attachments in requests, the large one in ranges, no token at the upload's URL; nothing is kept, no draft is left."""
    writing.sendmail("-odq", "root", stdin=large())
    assert writing.admin("run", "--once").returncode == 0
    arrived_whole(writing, sandbox)
    assert sandbox.counts()["uploads"] == 3
    inline = [file for file in sandbox.accepted()[0]["message"]["attachments"] if file.get("isInline")]
    assert [(file["name"], file["contentId"]) for file in inline] == [("logo.png", "logo@x")]


def test_what_was_to_keep_its_own_bytes_and_is_too_large_for_that_says_so(writing: Host, sandbox: Sandbox) -> None:
    """It arrives whole, but in another form: an admin who looks for a signature finds the reason in the log."""
    writing.settle(sandbox.settings(MAIL_FORMAT="mime"))
    writing.sendmail("-odq", "root", stdin=large())
    assert writing.admin("run", "--once").returncode == 0
    arrived_whole(writing, sandbox)
    assert any("status=sent" in line and "too large for the MIME form" in line for line in writing.syslog.read())


def test_an_attachment_that_is_too_small_for_a_session_goes_in_one_request(writing: Host, sandbox: Sandbox) -> None:
    """Where the limit lies is told differently; Graph knows its own."""
    sandbox.control(session_from=3_050_000)
    writing.sendmail("-odq", "root", stdin=large(3_020_000))
    assert writing.admin("run", "--once").returncode == 0
    arrived_whole(writing, sandbox, 3_020_000)
    assert sandbox.counts()["uploads"] == 0


@pytest.mark.parametrize("fault", ["cut_before", "cut_after", "status"])
def test_a_cut_upload_goes_on_where_it_was(writing: Host, sandbox: Sandbox, fault: str) -> None:
    """Whether the range had come or not; or where the store was busy."""
    sandbox.faults({"on": "upload", "do": fault, "after": 1, "times": 1})
    writing.sendmail("-odq", "root", stdin=large())
    assert writing.admin("run", "--once").returncode == 0
    arrived_whole(writing, sandbox)


@pytest.mark.parametrize("on", ["attachment", "session", "draft"])
def test_a_failure_before_the_last_step_is_transient_and_leaves_no_draft(writing: Host, sandbox: Sandbox, on: str) -> None:
    """Nothing was sent, whatever the answer; the next attempt sends it once."""
    sandbox.faults({"on": on, "status": 500, "code": "ErrorInternalServerError"})
    writing.sendmail("-odq", "root", stdin=large())
    assert writing.admin("run", "--once").returncode == 75
    (row,) = writing.rows()
    assert row["state"] == "deferred"
    assert sandbox.control()["drafts_left"] == 0
    writing.make_due()
    assert writing.admin("run", "--once").returncode == 0
    arrived_whole(writing, sandbox)


def test_an_unclear_send_that_did_send_is_not_sent_again(writing: Host, sandbox: Sandbox) -> None:
    """The draft is gone: it was sent, and that is that."""
    sandbox.faults({"on": "send", "do": "status_after", "status": 504, "code": "UnknownError"})
    writing.sendmail("-odq", "root", stdin=large())
    assert writing.admin("run", "--once").returncode == 0
    arrived_whole(writing, sandbox)
    assert any("sent, because its draft is gone" in line for line in writing.syslog.read())


def test_an_unclear_send_that_did_not_send_is_sent_again(writing: Host, sandbox: Sandbox) -> None:
    """The draft was still there: it is deleted, and the mail is tried again."""
    sandbox.faults({"on": "send", "do": "cut_before"})
    writing.sendmail("-odq", "root", stdin=large())
    assert writing.admin("run", "--once").returncode == 75
    assert "not sent, because its draft was still there" in writing.rows()[0]["reason"]
    assert sandbox.control()["drafts_left"] == 0
    writing.make_due()
    assert writing.admin("run", "--once").returncode == 0
    arrived_whole(writing, sandbox)


def test_a_mailbox_that_may_not_send_so_much_gets_it_smaller(writing: Host, sandbox: Sandbox) -> None:
    """…with the limit named in the log; and no draft is left."""
    sandbox.control(mailbox_limit=10_000_000)
    writing.sendmail("-odq", "root", stdin=large())
    (queue_id,) = writing.queue()
    assert writing.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    assert "Left out: " in mail["message"]["body"]["content"]
    assert "dump.bin (9.0 MB)" in mail["message"]["body"]["content"]
    assert sandbox.control()["drafts_left"] == 0
    assert [path.name for path in (writing.spool / "kept").iterdir()] == [queue_id]
    assert any("Set-Mailbox -MaxSendSize" in line for line in writing.syslog.read())


def test_a_missing_permission_is_asked_once_and_named(online: Host, sandbox: Sandbox) -> None:
    """Three large mails, one refused draft; each arrives smaller, and the log says what would help."""
    for _ in range(3):
        online.sendmail("-odq", "root", stdin=large())
    assert online.admin("run", "--once").returncode == 0
    assert len(sandbox.accepted()) == 3
    assert sandbox.counts()["drafts"] == 1
    assert (
        len(
            [line for line in online.syslog.read() if "to send it whole, grant the application permission Mail.ReadWrite" in line]
        )
        == 3
    )


def test_what_is_not_permitted_is_remembered_until_something_changes(online: Host, sandbox: Sandbox) -> None:
    """Over runners; asked again when the settings change, and when an admin flushes."""

    def another(*command: str) -> int:
        online.sendmail("-odq", "root", stdin=large())
        assert online.admin(*command).returncode == 0
        return sandbox.counts()["drafts"]

    assert [another("run", "--once"), another("run", "--once")] == [1, 1]
    assert another("queue", "flush") == 2
    assert another("run", "--once") == 2
    state = online.state / "permissions.json"
    assert state.stat().st_mode & 0o777 == 0o600
    online.settle(sandbox.settings(GRAPH_CLIENT_SECRET=sandbox.about["secret"], GRAPH_SENDER="PVE@example.com"))
    assert another("run", "--once") == 3
    state.write_text('{"key": 5, "refused": [')
    assert another("run", "--once") == 4


def test_a_long_body_is_cut_all_the_same(writing: Host, sandbox: Sandbox) -> None:
    """A body cannot be uploaded; its whole text is attached, and the rest comes whole."""
    mail = EmailMessage()
    mail["Subject"] = "long"
    mail.set_content("".join(f"line {number} with <some> & text\n" for number in range(200_000)))
    mail.add_attachment(NOISE[:5_000_000], maintype="application", subtype="octet-stream", filename="dump.bin")
    writing.sendmail("-odq", "root", stdin=mail.as_bytes())
    assert writing.admin("run", "--once").returncode == 0
    (arrived,) = sandbox.accepted()
    assert set(files(arrived)) == {"message.txt.gz", "dump.bin"}
    assert "The text is cut in the middle" in arrived["message"]["body"]["content"]


def test_an_upload_that_no_way_leads_to_lets_it_arrive_smaller(writing: Host, sandbox: Sandbox) -> None:
    """A firewall that knows Graph alone: the mail does not wait for ever, and the log names the host."""
    sandbox.faults({"on": "upload", "do": "cut_before", "times": 100})
    writing.sendmail("-odq", "root", stdin=large())
    assert writing.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    assert "dump.bin (9.0 MB)" in mail["message"]["body"]["content"]
    assert sandbox.control()["drafts_left"] == 0
    assert any("allow access to localhost" in line for line in writing.syslog.read())


def report(size: int) -> bytes:
    """A page of prose, and a file that cannot be compressed; the request takes a third more."""
    mail = EmailMessage()
    mail["Subject"] = "nightly"
    mail.set_content("backup of dc01 failed\n")
    mail.add_attachment(NOISE[:size], maintype="application", subtype="octet-stream", filename="dump.bin")
    return mail.as_bytes()


@pytest.mark.parametrize("takes", [3_000_000, 1_000_000, 131_072])
def test_a_proxy_that_takes_less_than_graph_gets_it_smaller(online: Host, sandbox: Sandbox, takes: int) -> None:
    """A mail of 3.9 MB fits into Graph's request, and not through the proxy: it arrives all the same, and what was learnt is
    remembered: the next one is not refused first."""
    sandbox.control(request_limit=takes)
    online.sendmail("-odq", "root", stdin=report(2_900_000))
    (queue_id,) = online.queue()
    assert online.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    assert "backup of dc01 failed" in mail["message"]["body"]["content"]
    assert "Left out: dump.bin (2.9 MB)" in mail["message"]["body"]["content"]
    assert "larger than the way to Microsoft Graph takes" in mail["message"]["body"]["content"]
    assert (online.queue(), online.failed()) == ([], [])
    assert [path.name for path in (online.spool / "kept").iterdir()] == [queue_id]
    requests = sandbox.counts()["sendmail"]
    online.sendmail("-odq", "root", stdin=report(2_900_000))
    assert online.admin("run", "--once").returncode == 0
    assert len(sandbox.accepted()) == 2
    assert sandbox.counts()["sendmail"] == requests + 1


def test_it_goes_whole_by_smaller_pieces_where_it_may(writing: Host, sandbox: Sandbox) -> None:
    """With Mail.ReadWrite, and a file that Graph takes in ranges: as small as the proxy wants them."""
    sandbox.control(request_limit=1_000_000)
    writing.sendmail("-odq", "root", stdin=report(5_000_000))
    assert writing.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    assert files(mail) == {"dump.bin": NOISE[:5_000_000]}
    assert sandbox.control()["drafts_left"] == 0
    writing.sendmail("-odq", "root", stdin=report(2_000_000))  # no session for so little, no request for so much
    assert writing.admin("run", "--once").returncode == 0
    assert any("let requests of 3 MB pass the proxy or filter" in line for line in writing.syslog.read())
    assert sandbox.control()["drafts_left"] == 0


def test_a_signed_mail_that_a_proxy_refuses_arrives_in_another_form(online: Host, sandbox: Sandbox) -> None:
    """Its own bytes do not pass; what it says does."""
    sandbox.control(request_limit=500_000)
    online.settle(sandbox.settings(MAIL_FORMAT="mime"))
    for _ in range(2):
        online.sendmail("-odq", "root", stdin=report(1_000_000))
        assert online.admin("run", "--once").returncode == 0
    assert ["backup of dc01 failed" in mail["message"]["body"]["content"] for mail in sandbox.accepted()] == [True, True]


def test_a_filter_that_refuses_everything_as_too_large_holds_the_mail(online: Host, sandbox: Sandbox) -> None:
    """A hundred bytes are not too large: it is the filter's fault, and kept."""
    sandbox.control(request_limit=100)
    online.sendmail("-odq", "root", stdin=report(100))
    assert online.admin("run", "--once").returncode == 75
    (row,) = online.rows()
    assert row["state"] == "held"
    assert "takes no request of this size" in row["reason"]
    sandbox.control(request_limit=4_000_000)
    assert online.admin("queue", "flush").returncode == 0
    assert len(sandbox.accepted()) == 1
