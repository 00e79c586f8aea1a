"""Small files: replaced as a whole, read with suspicion."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxmox_graph_mail import files, light_os


def test_a_file_is_safe_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync, then rename: after a loss of power it is the old one or the new one."""
    calls: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "rename")}

    def recorded(name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls.append(name)
            return real[name](*arguments)

        return call

    for name in real:
        monkeypatch.setattr(light_os, name, recorded(name))
    files.replace(str(tmp_path / "x"), b"new")
    assert calls == ["fsync", "rename"]
    assert (tmp_path / "x").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["x"]


def test_a_failed_replacement_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing beside it."""
    (tmp_path / "x").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(light_os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace(str(tmp_path / "x"), b"new")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_a_damaged_file_of_ours_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    """What it knew is learnt again."""
    (tmp_path / "x.json").write_bytes(content)
    assert files.read_json(tmp_path / "x.json") == {}
    assert files.read_json(tmp_path / "none") == {}
