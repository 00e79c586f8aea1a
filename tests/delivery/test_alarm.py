"""The alarm: given once, after its patience, over restarts; one all-clear."""

import json
from pathlib import Path

import pytest

from proxmox_graph_mail.delivery.alarm import Alarm, raised
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.settings import alarm_command
from tests.programs import Host, Sandbox

HELD_PATIENCE, NETWORK_PATIENCE = 900.0, 3600.0
HELD = Outcome(Status.HELD, "the client secret has expired", "AADSTS7000222", shared=True)
DOWN = Outcome(Status.TRANSIENT, "cannot connect", "ConnectError", shared=True)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SYSLOG", "/nowhere")
    return []


def test_it_is_given_once_and_cleared_once(tmp_path: Path, told: list[str]) -> None:
    """After fifteen minutes of refusals; the files say so while it lasts."""
    alarm = Alarm(tmp_path, told.append)
    alarm.refused(HELD, 1000.0)
    assert alarm.look(1001.0) == pytest.approx(HELD_PATIENCE - 1)
    assert (told, raised(tmp_path), alarm.text) == ([], None, "")
    alarm.refused(HELD, 1000.0 + HELD_PATIENCE)
    alarm.refused(HELD, 2000.0 + HELD_PATIENCE)
    assert told == ["no mail has left this host for 15 minutes: the client secret has expired\n"]
    assert raised(tmp_path) == "the client secret has expired"
    assert "ALARM: no mail has left this host" in (tmp_path / "motd").read_text()
    alarm.passed(5000.0)
    alarm.passed(6000.0)
    assert told[1:] == ["all clear: mail is leaving this host again, after 1 hour 6 minutes\n"]
    assert (raised(tmp_path), list(tmp_path.iterdir())) == (None, [])


def test_it_goes_on_after_a_restart(tmp_path: Path, told: list[str]) -> None:
    """Neither the time that passed nor that it was given is forgotten."""
    Alarm(tmp_path, told.append).refused(HELD, 1000.0)
    other = Alarm(tmp_path, told.append)
    other.look(1000.0 + HELD_PATIENCE)
    assert told == []  # the host was off: perhaps all is well by now
    other.refused(HELD, 1000.0 + HELD_PATIENCE)
    assert len(told) == 1
    Alarm(tmp_path, told.append).refused(HELD, 9000.0)
    assert len(told) == 1


def test_a_line_that_is_down_may_come_back(tmp_path: Path, told: list[str]) -> None:
    """An hour; a success within it is no alarm and no all-clear."""
    alarm = Alarm(tmp_path, told.append)
    alarm.refused(DOWN, 0.0)
    assert alarm.look(HELD_PATIENCE + 1) == pytest.approx(NETWORK_PATIENCE - HELD_PATIENCE - 1)
    alarm.passed(HELD_PATIENCE + 2)
    assert told == []
    alarm.refused(DOWN, 10_000.0)
    alarm.look(10_000.0 + NETWORK_PATIENCE)
    assert len(told) == 1


def test_a_clock_that_was_set_back_and_a_damaged_file(tmp_path: Path, told: list[str]) -> None:
    """The time begins anew."""
    (tmp_path / "alarm.json").write_text(json.dumps({"since": 1e12}))
    Alarm(tmp_path, told.append).refused(HELD, 1000.0)
    assert json.loads((tmp_path / "alarm.json").read_text())["since"] == 1000.0
    for text in ("", "[]", '{"since": "x"}', "[" * 5000):
        (tmp_path / "alarm.json").write_text(text)
        Alarm(tmp_path, told.append).refused(HELD, 1000.0)
    assert told == []


def test_what_was_removed_is_no_refusal_any_more(tmp_path: Path, told: list[str]) -> None:
    """A refusal yesterday, of a mail that an admin then removed, does not make today's first one an alarm."""
    alarm = Alarm(tmp_path, told.append)
    alarm.refused(HELD, 0.0)
    alarm.idle()
    alarm.refused(HELD, 90_000.0)
    alarm.look(90_001.0)
    assert told == []
    alarm.look(90_000.0 + HELD_PATIENCE)
    alarm.idle()
    assert raised(tmp_path)


def test_an_admin_s_command_that_fails_stops_nothing(tmp_path: Path, told: list[str]) -> None:
    """It is logged."""

    def broken(_: str) -> None:
        raise OSError(2, "No such file")

    alarm = Alarm(tmp_path, broken)
    alarm.refused(HELD, 0.0)
    alarm.look(HELD_PATIENCE)
    assert raised(tmp_path)


def test_the_command_is_known_when_the_settings_cannot_be_read(
    online: Host, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is needed most then; taken out of settings that can be read, it is forgotten."""
    for name, value in online.env.items():
        monkeypatch.setenv(name, value)
    online.settle(sandbox.settings(ALARM_COMMAND="logger -t told"))
    assert online.admin("run", "--once").returncode == 0
    online.config.rename(online.folder / "away")
    online.config.mkdir()
    assert alarm_command() == "logger -t told"
    online.config.rmdir()
    online.settle(sandbox.settings())
    assert alarm_command() == ""
    assert online.admin("run", "--once").returncode == 0
    online.config.unlink()
    online.config.mkdir()
    assert alarm_command() == ""
