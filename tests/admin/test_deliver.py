"""`deliver`: what an MTA's pipe transport is told."""

import pytest

from tests.programs import Host, Sandbox, subjects

MAIL = b"Subject: by pipe\nFrom: a@example.com\nTo: ops@example.com\n\nx\n"


def test_what_graph_took_is_0_and_says_nothing(online: Host, sandbox: Sandbox) -> None:
    """No queue is touched, and none need be there."""
    (online.spool / "queue").rmdir()
    done = online.admin("deliver", "-f", "a@example.com", "--", "ops@example.com", stdin=MAIL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert subjects(sandbox.accepted()) == ["by pipe"]


def test_the_message_id_is_the_same_at_every_attempt(online: Host, sandbox: Sandbox) -> None:
    """…for Postfix comes again after an uncertain answer."""
    sandbox.faults({"on": "sendMail", "do": "cut_after"})
    assert online.admin("deliver", "--", "ops@example.com", stdin=MAIL).returncode == 75
    assert online.admin("deliver", "--", "ops@example.com", stdin=MAIL).returncode == 0
    assert len({mail["message"]["internetMessageId"] for mail in sandbox.accepted()}) == 1


def test_what_is_the_tenant_s_fault_is_deferred(online: Host, sandbox: Sandbox) -> None:
    """A permission, a secret, settings: 75 and a code of class 4; the mail is innocent."""
    sandbox.control(roles=[])
    done = online.admin("deliver", "--", "ops@example.com", stdin=MAIL)
    assert done.returncode == 75
    assert done.stdout.startswith("4.3.5 ")
    assert "Mail.Send" in done.stdout
    online.config.write_text("GRAPH_SENDER=nonsense\n")
    done = online.admin("deliver", "--", "ops@example.com", stdin=MAIL)
    assert (done.returncode, done.stdout[:6]) == (75, "4.3.5 ")


def test_what_is_the_message_s_fault_is_given_back(online: Host, sandbox: Sandbox) -> None:
    """A recipient that Exchange refuses: 69 and a code of class 5."""
    sandbox.control(refused=["bad@example.com"])
    done = online.admin("deliver", "--", "bad@example.com", stdin=MAIL)
    assert (done.returncode, done.stdout[:6]) == (69, "5.1.3 ")


def test_whatever_breaks_us_the_mta_tries_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """70 would make Postfix give the mail back."""
    import io
    import sys

    import typer

    from proxmox_graph_mail.admin import deliver

    def broken(*_: object) -> object:
        raise KeyError("surprise")

    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SYSLOG", "/nowhere")
    monkeypatch.setattr(deliver, "_outcome", broken)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MAIL)))
    with pytest.raises(typer.Exit) as end:
        deliver.deliver(["ops@example.com"], "a@example.com")
    assert end.value.exit_code == 75
    assert capsys.readouterr().out.startswith("4.4.0 this program failed (KeyError)")


def test_what_arrives_smaller_promises_no_original(online: Host, sandbox: Sandbox) -> None:
    """The MTA has it no longer, and there is no kept/."""
    done = online.admin("deliver", "--", "ops@example.com", stdin=MAIL + b"line of a log that is long\n" * 300_000)
    assert done.returncode == 0
    assert "is kept" not in sandbox.accepted()[0]["message"]["body"]["content"]
