"""Can mail be taken and settled here?"""

import os
from types import SimpleNamespace

import pytest

from proxmox_graph_mail import paths
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.spool import condition
from proxmox_graph_mail.spool.incoming import MAKE
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.submission.mailq import require_access
from tests.programs import NOBODY, Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def spool(host: Host, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """The package's own spool and state, the service user's."""
    monkeypatch.setattr(paths, "DEFAULT_SPOOL", str(host.spool))
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_STATE", str(host.state))
    monkeypatch.setattr("pwd.getpwnam", lambda _: SimpleNamespace(pw_uid=NOBODY, pw_gid=NOBODY))
    for path in (host.spool, host.spool / "queue", host.spool / "failed", host.state):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o2770)
    return Spool(str(host.spool))


def test_a_spool_that_is_as_it_should_be_has_no_fault(spool: Spool) -> None:
    """Nor has one without a state yet."""
    assert condition.faults(spool) == {}
    os.rmdir(paths.state())
    assert condition.faults(spool) == {}


@pytest.mark.parametrize("name", ["", "queue", "failed", "state"])
def test_whose_it_is(spool: Spool, name: str) -> None:
    """After a restore as root: which, and the command."""
    path = paths.state() if name == "state" else f"{spool.root}/{name}".rstrip("/")
    os.chown(path, 0, 0)
    assert condition.faults(spool) == {
        "owner": f"the service user may not write {path}; chown -R proxmox-graph-mail: {path}; {MAKE}"
    }


def test_room(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, and inodes; a read-only disk."""
    disk = {"f_bavail": 1000, "f_frsize": 4096, "f_files": 100, "f_favail": 90, "f_flag": 0}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**disk))
    assert "has only 4 MB left" in condition.faults(spool)["room"]
    disk["f_bavail"] = 10**9
    assert "has only 90 inodes left" in condition.faults(spool)["room"]
    disk["f_files"] = 0  # a file system that makes them as needed
    assert condition.faults(spool) == {}
    disk["f_flag"] = os.ST_RDONLY
    assert "is read-only" in condition.faults(spool)["read-only"]


def test_a_read_only_disk_can_be_looked_at(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """mailq and status need no right to write; what changes the queue says why it cannot."""
    disk = os.statvfs(spool.queue)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=disk.f_flag | os.ST_RDONLY))
    require_access(spool)
    with pytest.raises(SpoolError, match="is read-only; look at the disk"):
        require_access(spool, change=True)
