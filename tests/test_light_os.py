"""light_os does as os does: the fast path and the rest of the program share code that may see either."""

import os
from pathlib import Path

import pytest

from proxmox_graph_mail import light_os


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """A file, a directory, links that lead somewhere and nowhere, nothing, and what is no path."""
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "dangling").symlink_to("nowhere")
    names = ("file", "directory", "link", "dangling", "absent", "file/below", "a\0b")
    return [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("question", ["exists", "lexists", "isdir", "basename", "dirname"])
def test_paths_are_judged_alike(places: list[str], question: str) -> None:
    """Each question, of each kind of place."""
    for place in places:
        assert getattr(light_os.path, question)(place) == getattr(os.path, question)(place), place


def test_the_environment_is_that_of_os(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where os is loaded it may have been changed there."""
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_TEST", "ü")
    assert light_os.environ.get("PROXMOX_GRAPH_MAIL_TEST", "x") == "ü"
    monkeypatch.delenv("PROXMOX_GRAPH_MAIL_TEST")
    assert light_os.environ.get("PROXMOX_GRAPH_MAIL_TEST", "x") == "x"


def test_directories_are_made_alike(tmp_path: Path) -> None:
    """With those above; one that is there is an error unless it may be."""
    light_os.makedirs(str(tmp_path / "a/b/c"), 0o700)
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    light_os.makedirs(str(tmp_path / "a/b/c"), exist_ok=True)
    with pytest.raises(FileExistsError):
        light_os.makedirs(str(tmp_path / "a/b/c"))
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        light_os.makedirs(str(tmp_path / "file"), exist_ok=True)


def test_the_system_calls_are_those_of_os() -> None:
    """The same objects, so that what patches or traces one sees both."""
    for name in ("open", "rename", "fsync", "_exit", "O_NOFOLLOW", "strerror", "getuid"):
        assert getattr(light_os, name) is getattr(os, name) or getattr(light_os, name) == getattr(os, name)
