"""After an uncertain answer: look in Sent Items before it is sent again, where that can be done."""

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
    assert any("status=sent" in line and "found in Sent Items" in line for line in online.syslog.read())


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
