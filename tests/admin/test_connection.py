"""Settings become a route; the credential's end is announced."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxmox_graph_mail.admin.connection import _state, configuration
from tests.programs import Host, Sandbox


def test_the_runner_s_log_warns(online: Host, sandbox: Sandbox) -> None:
    """A certificate's end is read from it: the stand-in's has 90 days, a date that was typed in has fewer."""
    online.settle(sandbox.settings(CREDENTIAL_EXPIRES="2026-01-01"))
    for _ in range(2):  # once a day, not once for each start
        online.admin("run", "--idle", "0")
    assert sum("days ago, on 2026-01-01" in line for line in online.syslog.read()) == 1


def test_mending_owner_or_mode_is_a_change(tmp_path: Path) -> None:
    """What an admin does where the settings could not be read."""
    (tmp_path / "conf").touch(mode=0o600)
    before = _state(tmp_path / "conf")
    (tmp_path / "conf").chmod(0o640)
    assert _state(tmp_path / "conf") != before


def test_settings_that_everybody_may_read_are_reported(online: Host) -> None:
    """They hold the secret."""
    online.config.chmod(0o644)
    online.admin("run", "--once")
    assert any("is world-readable: chmod 0640" in line for line in online.syslog.read())


def test_every_credential_sends(online: Host, sandbox: Sandbox) -> None:
    """A certificate, from the settings file to the accepted mail; the proxy's settings do no harm to NO_PROXY's hosts."""
    settings = sandbox.settings(
        GRAPH_CLIENT_CERTIFICATE=sandbox.about["certificate"], HTTPS_PROXY="http://127.0.0.1:1", NO_PROXY="localhost"
    )
    del settings["GRAPH_CLIENT_SECRET"]
    online.settle(settings)
    assert online.sendmail("-odi", "root").returncode == 0
    assert len(sandbox.accepted()) == 1


def test_a_proxy_that_does_not_answer_defers(online: Host, sandbox: Sandbox) -> None:
    """…and is named."""
    online.settle(sandbox.settings(HTTPS_PROXY="127.0.0.1:1"))
    online.sendmail("-odq", "root")
    online.admin("queue", "flush")
    (row,) = online.rows()
    assert row["state"] == "deferred"
    assert "cannot connect" in row["reason"]


def test_saved_to_sent_items_on_request(online: Host, sandbox: Sandbox) -> None:
    """GRAPH_SAVE_TO_SENT_ITEMS."""
    online.settle(sandbox.settings(GRAPH_SAVE_TO_SENT_ITEMS="true"))
    assert online.sendmail("-odi", "root").returncode == 0
    assert sandbox.accepted()[0]["save_to_sent_items"] is True


def test_the_aliases_file_is_read_again_when_it_changes(online: Host, sandbox: Sandbox) -> None:
    """No newaliases, no restart."""
    with online.runner():
        for person in ("first@example.com", "second@example.com"):
            new = online.folder / "aliases.new"
            new.write_text(f"ops: {person}\n")
            new.rename(online.aliases)
            assert online.sendmail("-odi", "ops").returncode == 0
    people = [mail["message"]["toRecipients"][0]["emailAddress"]["address"] for mail in sandbox.accepted()]
    assert people == ["first@example.com", "second@example.com"]


def test_a_host_that_is_renamed_says_so_from_then_on(online: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """X-Queue-ID and From name the host: another name is another setting."""
    for name, value in online.env.items():
        monkeypatch.setenv(name, value)
    watched = configuration(threading.Event(), lambda _: None)
    assert watched.refresh()
    assert not watched.changed()
    known = os.uname()
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="renamed", sysname=known.sysname))
    assert watched.changed()
    watched.close()
