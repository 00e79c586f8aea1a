"""After an uncertain answer: look in Sent Items before it is sent again, where that can be done."""

from typing import Any

import pytest

from tests.programs import Host, Sandbox, subjects


def twice(host: Host, sandbox: Sandbox, fault: str) -> None:
    """Two attempts, the first with an unclear answer."""
    sandbox.faults({"on": "sendMail", "do": fault})
    assert host.sendmail("-odq", "root", stdin=b"Subject: once\nMessage-ID: <it's@example.com>\n\nx\n").returncode == 0
    assert host.admin("run", "--once").returncode == 75
    host.make_due()
    assert host.admin("run", "--once").returncode == 0
    assert host.queue() == []


@pytest.mark.parametrize("role", ["Mail.ReadBasic", "Mail.ReadWrite"])
def test_what_is_in_sent_items_is_not_sent_again(online: Host, sandbox: Sandbox, role: str) -> None:
    """It came once, and the log says how that is known."""
    online.settle(sandbox.settings(GRAPH_SAVE_TO_SENT_ITEMS="true"))
    sandbox.control(roles=["Mail.Send", role])
    twice(online, sandbox, "cut_after")
    assert subjects(sandbox.accepted()) == ["once"]
    assert any("status=sent" in line and "already in Sent Items" in line for line in online.syslog.read())


def test_what_is_not_in_sent_items_is_sent_again(online: Host, sandbox: Sandbox) -> None:
    """The first request never came through."""
    online.settle(sandbox.settings(GRAPH_SAVE_TO_SENT_ITEMS="true"))
    sandbox.control(roles=["Mail.Send", "Mail.ReadBasic"])
    twice(online, sandbox, "cut_before")
    assert subjects(sandbox.accepted()) == ["once"]


@pytest.mark.parametrize("saved", ["true", "false"])
def test_without_the_permission_or_the_copy_it_is_sent_again(online: Host, sandbox: Sandbox, saved: str) -> None:
    """Twice at worst, with the same Message-ID; never not at all."""
    online.settle(sandbox.settings(GRAPH_SAVE_TO_SENT_ITEMS=saved))
    sandbox.control(roles=["Mail.Send"] if saved == "true" else ["Mail.Send", "Mail.ReadBasic"])
    twice(online, sandbox, "cut_after")
    mails = sandbox.accepted()
    assert subjects(mails) == ["once", "once"]
    assert len({mail["message"]["internetMessageId"] for mail in mails}) == 1


def recipients(mails: list[dict[str, Any]]) -> list[list[str]]:
    """Of each mail, in the order of the envelope."""
    kinds = ("toRecipients", "ccRecipients", "bccRecipients")
    return [[one["emailAddress"]["address"] for kind in kinds for one in mail["message"].get(kind, [])] for mail in mails]


def test_a_part_that_is_in_sent_items_is_not_the_whole(online: Host, sandbox: Sandbox) -> None:
    """Where the unclear request was for some of the recipients, the others still get their mail, and a refused one is named."""
    online.settle(sandbox.settings(GRAPH_SAVE_TO_SENT_ITEMS="true"))
    sandbox.control(roles=["Mail.Send", "Mail.ReadBasic"], refused=["bad@example.com"])
    sandbox.faults({"on": "sendMail", "do": "cut_after", "after": 1})
    assert online.sendmail("-odq", "a@example.com", "b@example.com", "bad@example.com", "c@example.com").returncode == 0
    assert online.admin("run", "--once").returncode == 75
    online.make_due()
    assert online.admin("run", "--once").returncode == 69
    assert recipients(sandbox.accepted()) == [["a@example.com", "b@example.com"], ["c@example.com"]]
    (row,) = online.rows()
    assert row["state"] == "failed"
    assert "but not to bad@example.com" in row["reason"]


def test_an_unclear_answer_is_remembered_until_sent_items_were_asked(online: Host, sandbox: Sandbox) -> None:
    """A round in which nothing can be asked must not make it forgotten: it would be sent again unasked."""
    online.settle(sandbox.settings(GRAPH_SAVE_TO_SENT_ITEMS="true"))
    sandbox.control(roles=["Mail.Send", "Mail.ReadBasic"])
    sandbox.faults({"on": "sendMail", "do": "cut_after"})
    assert online.sendmail("-odq", "a@example.com").returncode == 0
    assert online.admin("run", "--once").returncode == 75
    online.make_due()
    (online.state / "tokens.json").unlink()
    sandbox.faults({"on": "token", "status": 503, "times": 50})
    assert online.admin("run", "--once").returncode == 75
    sandbox.faults()
    (online.state / "tokens.json").unlink()  # a busy Entra is believed for some seconds
    online.make_due()
    assert online.admin("run", "--once").returncode == 0
    assert recipients(sandbox.accepted()) == [["a@example.com"]]


@pytest.mark.parametrize("other", ["b@example.com", "a@example.com"], ids=["another recipient", "long ago"])
def test_another_mail_with_the_same_message_id_proves_nothing(online: Host, sandbox: Sandbox, other: str) -> None:
    """`sendmail a <m; sendmail b <m`, or a user who knows the Message-ID: the first, whose request never arrived, is sent."""
    online.settle(sandbox.settings(GRAPH_SAVE_TO_SENT_ITEMS="true"))
    sandbox.control(roles=["Mail.Send", "Mail.ReadBasic"])
    message = b"Subject: twice\nMessage-ID: <same@example.com>\n\nx\n"
    assert online.sendmail("-odq", other, stdin=message).returncode == 0
    assert online.admin("run", "--once").returncode == 0
    if other == "a@example.com":
        sandbox.control(age=3600)
    sandbox.faults({"on": "sendMail", "do": "cut_before"})
    assert online.sendmail("-odq", "a@example.com", stdin=message).returncode == 0
    assert online.admin("run", "--once").returncode == 75
    online.make_due()
    assert online.admin("run", "--once").returncode == 0
    assert recipients(sandbox.accepted()) == [[other], ["a@example.com"]]


def test_a_message_id_of_ours_cannot_be_known_to_others(online: Host, sandbox: Sandbox) -> None:
    """64 bits of it stand in the envelope alone, which only root and the service user may read; the same on every attempt."""
    assert online.sendmail("-odq", "a@example.com", stdin=b"Subject: x\n\ny\n").returncode == 0
    (queue_id,) = online.queue()
    nonce = online.envelope(queue_id)["nonce"]
    assert len(bytes.fromhex(nonce)) == 8
    sandbox.faults({"on": "sendMail", "do": "cut_after"})
    online.admin("run", "--once")
    online.make_due()
    online.admin("run", "--once")
    ids = {mail["message"]["internetMessageId"] for mail in sandbox.accepted()}
    assert len(sandbox.accepted()) == 2
    assert ids == {f"<{queue_id}.{nonce}@{ids.copy().pop().partition('@')[2]}"}
    assert not any(nonce in line for line in online.syslog.read())
