"""The settings as the runner sees them."""

from collections.abc import Callable

import pytest

from proxmox_graph_mail.delivery.configuration import Configuration
from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.graph.outcome import Status
from tests.delivery.test_decisions import Mailer
from tests.message.test_corpus import BOOK
from tests.programs import Host


class Files:
    """Settings files whose states, and whose set, a test changes."""

    def __init__(self) -> None:
        self.state: dict[str, object] = {"conf": 1, "old-ca": 1}
        self.named = ["conf"]
        self.loads = 0
        self.error: Exception | None = None
        self.while_loading: Callable[[], object] = lambda: None

    def load(self) -> tuple[Relay, float, object]:
        self.loads += 1
        self.while_loading()
        if self.error:
            raise self.error
        return Relay(Mailer(Status.SENT), "pve@example.com", BOOK), 1.0, lambda: None

    def configuration(self) -> Configuration:
        return Configuration(self.load, lambda: {name: self.state.get(name) for name in self.named})  # type: ignore[arg-type]


def test_settings_are_read_once_and_again_when_a_file_changes() -> None:
    """Not at every pass."""
    files = Files()
    seen = files.configuration()
    assert (seen.changed(), seen.refresh(), seen.changed(), seen.refresh()) == (True, True, False, False)
    files.state["conf"] = 2
    assert (seen.changed(), seen.refresh(), seen.changed()) == (True, True, False)
    seen.invalidate()
    assert seen.refresh()
    assert files.loads == 3


def test_settings_that_name_other_files_do_not_look_changed_for_ever() -> None:
    """GRAPH_CA_FILE was one file and is another: the old one is watched no more."""
    files = Files()
    files.named = ["conf", "old-ca"]
    seen = files.configuration()
    seen.refresh()
    files.state |= {"conf": 2, "new-ca": 1}
    files.while_loading = lambda: files.__setattr__("named", ["conf", "new-ca"])
    assert seen.refresh()
    assert not seen.changed()


def test_a_change_while_they_are_read_is_seen() -> None:
    """An editor that saves twice."""
    files = Files()
    files.while_loading = lambda: files.state.__setitem__("conf", 2)
    seen = files.configuration()
    seen.refresh()
    assert seen.changed()


@pytest.mark.parametrize(
    "error", [SettingsError("conf, line 1: bad"), OSError(13, "Permission denied"), ValueError("embedded null byte")]
)
def test_whatever_is_wrong_with_them_is_a_sentence_not_an_exception(
    host: Host, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner stays, and holds the mail."""
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SYSLOG", host.env["PROXMOX_GRAPH_MAIL_SYSLOG"])
    files = Files()
    files.error = error
    seen = files.configuration()
    assert seen.refresh()
    assert seen.relay is None
    assert seen.error.startswith("settings: ")
    assert not seen.changed()
    assert "held until they are corrected" in host.syslog.read()[0]


def test_settings_that_cannot_be_read_are_read_again_though_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault was elsewhere (a dead file system, no memory): a minute later all is well, and only then the mail is let go."""
    import time

    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    files = Files()
    files.error = OSError(107, "Transport endpoint is not connected")
    seen = files.configuration()
    assert seen.refresh()
    assert (seen.changed(), seen.refresh()) == (False, False)
    now += 61
    assert seen.changed()
    assert not seen.refresh()  # still broken: what is held stays held
    now += 61
    files.error = None
    assert seen.refresh()
    assert seen.relay is not None
    now += 1000
    assert not seen.changed()
