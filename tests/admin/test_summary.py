"""What `status` keeps of the settings: cheap to ask, and never older than the files."""

import json

import pytest

from proxmox_graph_mail.admin import summary
from tests.programs import Host


@pytest.fixture
def ours(online: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A configured host whose variables are this process's too."""
    for name, value in online.env.items():
        monkeypatch.setenv(name, value)
    return online


def test_a_change_in_place_is_seen(ours: Host) -> None:
    """Same file, same size: the time tells."""
    text = ours.config.read_text()
    assert summary.settings_summary()["error"] is None
    kept = ours.state / "summary.json"
    assert json.loads(kept.read_text())["summary"]["error"] is None
    wrong = text.replace("@", "_")
    assert len(wrong) == len(text)
    with ours.config.open("r+") as file:
        file.write(wrong)
    assert "not a mail address" in str(summary.settings_summary()["error"])


def test_a_change_while_it_is_read_is_seen(ours: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the old reading would be kept under the new file's mark, and `status` would say OK for good."""
    text = ours.config.read_text()
    real = summary._made

    def interrupted() -> tuple[list[str], dict[str, object]]:
        made = real()
        ours.config.write_text(text.replace("@", " at "))
        return made

    monkeypatch.setattr(summary, "_made", interrupted)
    summary.settings_summary()
    monkeypatch.setattr(summary, "_made", real)
    assert "not a mail address" in str(summary.settings_summary()["error"])


def test_another_version_reads_again(ours: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may refuse what the last one took."""
    summary.settings_summary()
    calls: list[int] = []
    real = summary._made

    def counted() -> tuple[list[str], dict[str, object]]:
        calls.append(1)
        return real()

    monkeypatch.setattr(summary, "_made", counted)
    summary.settings_summary()
    assert not calls
    monkeypatch.setattr(summary, "__version__", "9.9")
    summary.settings_summary()
    assert calls


@pytest.mark.parametrize("content", ["{}", '{"mark": 5}', '{"mark": "x", "files": 7}', '{"mark": "x", "files": [7]}', "[]", "{"])
def test_a_damaged_summary_is_made_again(ours: Host, content: str) -> None:
    """It is the service user's file, and root reads it."""
    kept = ours.state / "summary.json"
    kept.write_text(content)
    assert summary.settings_summary()["error"] is None
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"summary": None}))
    assert summary.settings_summary()["error"] is None
