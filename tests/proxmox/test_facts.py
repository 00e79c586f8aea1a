"""What a Proxmox host says about itself, in Proxmox's own formats, and what is kept of it when it cannot be read."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from proxmox_graph_mail.proxmox import facts

USER_CFG = """\
user:root@pam:1:0:Ada:Lovelace:ada%40example.com:the %3A admin:x:
user:ops@pve:1:0::::::

group:admins:ops@pve::
"""
COROSYNC = """\
logging {
  debug: off
}

nodelist {
  node {
    name: pve1
    nodeid: 1
    quorum_votes: 1
    ring0_addr: 192.0.2.1
  }
  node {
    name: pve2
    nodeid: 2
    ring0_addr: 192.0.2.2
  }
}

totem {
  cluster_name: prod
  config_version: 2
  interface {
    linknumber: 0
  }
}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's files, and the directory that the facts are kept in."""
    (tmp_path / "kept").mkdir()
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_HOST", str(tmp_path / "kept"))
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_SYSLOG", str(tmp_path / "nolog"))
    return tmp_path / "root"


def put(path: Path, text: str, mode: int = 0o640) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def pve(root: Path) -> None:
    """As pmxcfs shows it."""
    (root / "etc/pve/nodes").mkdir(parents=True)
    put(root / "etc/pve/user.cfg", USER_CFG)
    put(root / "etc/pve/corosync.conf", COROSYNC)
    put(root / "etc/pve/datacenter.cfg", "keyboard: de\nemail_from: pve@example.com\n")
    put(root / "etc/pve/priv/proxmox-graph-mail.conf", "GRAPH_SENDER=pve@example.com\n", 0o600)
    put(root / "usr/libexec/proxmox-mail-forward", "", 0o4755)
    put(root / "usr/lib/systemd/system/proxmox-graph-mail-hand-over.path", "")
    put(root / "root/.forward", "|/usr/libexec/proxmox-mail-forward\n")


def copy(root: Path) -> str:
    return (root.parent / "kept/cluster.conf").read_text()


def test_a_node_of_a_cluster(root: Path) -> None:
    """Address, cluster, nodes, sender, .forward, and a copy of the cluster's settings."""
    pve(root)
    assert facts.refresh()
    assert facts.known() == facts.Facts(
        products=("pve",), admin="ada@example.com", admin_source="/etc/pve/user.cfg", email_from="pve@example.com", cluster="prod",
        nodes=("pve1", "pve2"), forward_program=f"{root}/usr/libexec/proxmox-mail-forward", forward_file_pipes=True,
    )  # fmt: skip
    assert copy(root) == "GRAPH_SENDER=pve@example.com\n"
    assert {path.stat().st_mode & 0o777 for path in (root.parent / "kept").glob("[a-z]*")} == {0o640}


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("user:root@pam:1:0:::admin@example.com:::", "admin@example.com"), ("user:root@pam:1:0:::a%2Bb@example.com", "a+b@example.com"),
        ("user:root@pam:1:0::::", ""), ("user:root@pam:1:0::", ""), ("user:root@pam:1:0:::nonsense::", ""), ("", ""),
        ("user:root@pve:1:0:::other@example.com:::", ""), ("user:root@pam:1:0:::a@b.example\x00,c@d.example::", ""),
    ],
)  # fmt: skip
def test_root_s_address_in_pve_s_user_cfg(line: str, address: str) -> None:
    """The seventh field, %-encoded, missing or empty; the installer's line has eight fields."""
    assert facts.pve_user_address([line]) == address


def test_root_s_address_in_pbs_s_user_cfg() -> None:
    """A section; another user's address is none of root's."""
    text = "user: ops@pbs\n\temail ops@example.com\n\nuser: root@pam\n\tcomment x\n\temail admin@example.com\n\tenable true\n"
    assert facts.pbs_user_address(text.splitlines()) == "admin@example.com"
    assert facts.pbs_user_address(["user: root@pam", "\tenable true", "user: ops@pbs", "\temail ops@example.com"]) == ""
    assert facts.pbs_user_address([]) == ""


def test_a_backup_server(root: Path) -> None:
    """Its own files; beside a PVE on the same host that one's count."""
    put(root / "etc/proxmox-backup/user.cfg", "user: root@pam\n\temail backup@example.com\n")
    put(root / "etc/proxmox-backup/node.cfg", "email-from: pbs@example.com\n")
    assert facts.refresh()
    known = facts.known()
    assert (known.products, known.admin, known.email_from) == (("pbs",), "backup@example.com", "pbs@example.com")
    assert known.admin_source == "/etc/proxmox-backup/user.cfg"
    pve(root)
    assert facts.refresh()
    assert (facts.known().products, facts.known().admin) == (("pve", "pbs"), "ada@example.com")


@pytest.mark.parametrize(
    ("text", "pipes", "addresses"),
    [
        ("|/usr/libexec/proxmox-mail-forward\n", True, []), ('"|/usr/bin/proxmox-mail-forward"\n', True, []),
        ("# |/usr/libexec/proxmox-mail-forward\n", False, []), ("|/usr/bin/procmail\n/var/mail/root\n", False, []),
        ("me@example.com, \\root\n|/usr/libexec/proxmox-mail-forward\n", True, ["me@example.com"]), ("", False, []),
    ],
)  # fmt: skip
def test_what_a_forward_file_says(text: str, pipes: bool, addresses: list[str]) -> None:
    """Proxmox's pipe, in PVE 8's and 9's place, and addresses beside it; a program is never run."""
    assert facts.parse_forward_file(text.splitlines()) == (pipes, addresses)


def test_without_pmxcfs_the_last_good_copy_stays(root: Path) -> None:
    """/etc/pve is an empty directory then; a file the admin removed while it was there is gone."""
    pve(root)
    assert facts.refresh()
    before = facts.known()
    shutil.move(root / "etc/pve", root / "etc/aside")
    (root / "etc/pve").mkdir()
    assert facts.refresh()
    assert facts.known() == before
    assert copy(root).startswith("GRAPH_SENDER")
    (root / "etc/pve").rmdir()
    shutil.move(root / "etc/aside", root / "etc/pve")
    (root / "etc/pve/priv/proxmox-graph-mail.conf").unlink()
    assert facts.refresh()
    assert not (root.parent / "kept/cluster.conf").exists()


def test_a_stuck_file_system_costs_the_time_limit_and_no_more(root: Path) -> None:
    """A FIFO that nobody writes hangs as a stuck FUSE mount does."""
    pve(root)
    assert facts.refresh()
    before = facts.known()
    (root / "etc/pve/user.cfg").unlink()
    os.mkfifo(root / "etc/pve/user.cfg")
    begun = time.monotonic()
    assert not facts.refresh(0.3)
    assert time.monotonic() - begun < 2
    assert facts.known() == before


def test_while_one_hangs_no_other_is_begun(root: Path) -> None:
    """Each would be one more process that nobody can kill."""
    pve(root)
    (root / "etc/pve/user.cfg").unlink()
    os.mkfifo(root / "etc/pve/user.cfg")
    import fcntl

    with (root.parent / "kept/.reading").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = time.monotonic()
        assert not facts.refresh(5.0)
        assert time.monotonic() - begun < 1


def test_what_may_not_be_read_keeps_the_last_good_copy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One product's trouble is said, and takes nothing away."""
    pve(root)
    assert facts.refresh()
    before = facts.known()

    def denied(_: str) -> dict[str, object]:
        raise PermissionError(13, "Permission denied", "/etc/proxmox-backup/user.cfg")

    (root / "etc/proxmox-backup").mkdir()
    monkeypatch.setattr(facts, "_pbs", denied)
    assert not facts.refresh()
    assert facts.known() == before


@pytest.mark.parametrize("text", ["", "[]", '{"admin": 5}', "null", '{"nodes": "x"}', "[" * 10_000])
def test_damaged_facts_are_none(root: Path, text: str) -> None:
    """Whoever reads them goes on without."""
    (root.parent / "kept/host.json").write_text(text)
    assert facts.known() == facts.Facts()


def test_what_has_not_changed_is_not_written(root: Path) -> None:
    """Every half minute: the runner would read its settings anew each time."""
    pve(root)
    assert facts.refresh()
    path = root.parent / "kept/host.json"
    before = path.stat().st_ino
    assert facts.refresh()
    assert path.stat().st_ino == before
    assert json.loads(path.read_text())["cluster"] == "prod"
