"""Subordinate uids are their user's."""

from pathlib import Path

import pytest

from proxmox_graph_mail.spool import owner


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0::/:/bin/sh\nmallory:x:1001:1001::/:/bin/sh\nbroken\n")
    (tmp_path / "subuid").write_text("mallory:100000:65536\n1002:165536:65536\nnobody-knows:300000:10\nx:y:z\n::\nbroken\n")
    monkeypatch.setattr(owner, "PASSWD", str(tmp_path / "passwd"))
    monkeypatch.setattr(owner, "SUBUID", str(tmp_path / "subuid"))


@pytest.mark.parametrize(
    ("uid", "whose"),
    [(0, 0), (1001, 1001), (65535, 65535), (100000, 1001), (165535, 1001), (165536, 1002), (231072, 231072), (300005, 300005),
     (-1, -1)],
)  # fmt: skip
def test_a_uid_of_a_range_is_its_user_s(uid: int, whose: int) -> None:
    """By name or by number; a uid of nobody's range is its own."""
    assert owner.owner_of(uid) == whose


def test_without_the_files_every_uid_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without subordinate uids."""
    monkeypatch.setattr(owner, "SUBUID", "/nowhere")
    assert owner.owner_of(100000) == 100000
