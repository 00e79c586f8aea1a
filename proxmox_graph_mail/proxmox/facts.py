"""What this host says about itself: read by root, with a time limit, and kept for everybody else.

    HOST/host.json       the facts below, as of the last time they could be read
    HOST/cluster.conf    a copy of /etc/pve/priv/proxmox-graph-mail.conf, the cluster's settings

HOST is /var/lib/proxmox-graph-mail-host: root's, readable by the service group. Only root may read what Proxmox keeps here,
and /etc/pve is a FUSE file system that is empty, or hangs, exactly when alarms matter. So a child of a root process reads
it; one that hangs is given up after LIMIT, and the last good copy stays. Nobody else ever opens a file below /etc/pve.

Formats: PVE user.cfg (lines, seventh field, %-encoded), PBS user.cfg (sections), datacenter.cfg and node.cfg (`key: value`),
corosync.conf(5), /root/.forward (local(8), "per-user .forward files").
"""

import fcntl
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

from proxmox_graph_mail import files, log, paths
from proxmox_graph_mail.proxmox.microsoft import smtp_targets

LIMIT = 3.0  # seconds that reading may take
FORWARD_PROGRAMS = ("/usr/libexec/proxmox-mail-forward", "/usr/bin/proxmox-mail-forward")
"""Where PVE 9 and PBS 4, and where their predecessors, keep it."""
HAND_OVER_UNITS = tuple(f"{place}/systemd/system/proxmox-graph-mail-hand-over.path" for place in ("/usr/lib", "/usr/local/lib"))
SIZE_LIMIT = 1 << 20  # bytes; pmxcfs takes no larger file
_ADDRESS = re.compile(r"[^\s@<>,;\"|]+@[^\s@<>,;\"|]+\.[^\s@<>,;\"|]+")


class Facts(NamedTuple):
    """`products` are pve and pbs; `admin` is root@pam's address and `admin_source` the file that says so; `email_from` the
    sender that Proxmox gives its notifications; `forward_program` the proxmox-mail-forward that is there and can be run by our
    unit, `forward_file_pipes` whether /root/.forward pipes into it, `forward_addresses` the addresses in that file;
    `microsoft_targets` the smtp targets that lead to Microsoft."""

    products: tuple[str, ...] = ()
    admin: str = ""
    admin_source: str = ""
    email_from: str = ""
    cluster: str = ""
    nodes: tuple[str, ...] = ()
    forward_program: str = ""
    forward_file_pipes: bool = False
    forward_addresses: tuple[str, ...] = ()
    microsoft_targets: tuple[str, ...] = ()


def known() -> Facts:
    """The facts as they were last read; none where nobody ever read any."""
    try:
        with open(paths.host_facts(), "rb") as source:
            facts = json.load(source)
        kinds = {name: type(value) for name, value in Facts()._asdict().items()}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items() if key in kinds}
        return Facts(**{key: value for key, value in values.items() if isinstance(value, kinds[key])})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return Facts()


def refresh(limit: float = LIMIT) -> bool:
    """As root: read anew, and write what changed; False if that could not be done in time, and the last good copy stays."""
    gathered = in_child(gather, limit)
    if not isinstance(gathered, dict):
        log.line(f"/etc/pve does not answer within {limit:.0f} s; the last good copy of what it said is used", log.WARNING)
        return False
    for problem in gathered["problems"]:
        log.line(f"{problem}; the last good copy is used", log.WARNING)
    old = known()
    if gathered["problems"] and old.products:
        return False
    if gathered["pve"] is None and "pve" in old.products and gathered["pve_there"]:
        # The cluster's file system is not mounted (pmxcfs is down, or not yet up): what it said last holds.
        facts = Facts(**gathered["facts"])._replace(
            products=tuple(dict.fromkeys((*old.products, *gathered["facts"]["products"]))), admin=old.admin, cluster=old.cluster,
            admin_source=old.admin_source, email_from=old.email_from, nodes=old.nodes, microsoft_targets=old.microsoft_targets,
        )  # fmt: skip
    else:
        facts = Facts(**gathered["facts"])
        _replace("cluster.conf", gathered["pve"]["settings"] if gathered["pve"] else None)
    _replace("host.json", json.dumps(facts._asdict(), indent=1) + "\n")
    return True


def gather() -> dict[str, Any]:
    """Read everything; may hang where /etc/pve does."""
    root = paths.below_root("")
    pve_there = os.path.isdir(f"{root}/etc/pve")
    problems: list[str] = []
    pve = _guarded(_pve, root, problems) if pve_there and pve_is_up() else None
    pbs = _guarded(_pbs, root, problems) if os.path.isdir(f"{root}/etc/proxmox-backup") else None
    program = next((path for path in FORWARD_PROGRAMS if os.access(f"{root}{path}", os.X_OK)), "")
    if not any(os.path.exists(f"{root}{unit}") for unit in HAND_OVER_UNITS):
        program = ""  # nobody would run it
    pipes, addresses = parse_forward_file(_lines(f"{root}/root/.forward"))
    facts = {
        "products": [name for name, there in (("pve", pve or pve_there), ("pbs", pbs)) if there],
        "forward_program": f"{root}{program}" if program else "", "forward_file_pipes": pipes, "forward_addresses": addresses,
    }  # fmt: skip
    for source in (pbs, pve):  # where both are installed, PVE's count
        facts |= {key: value for key, value in (source or {}).items() if value and key != "settings"}
    return {"facts": facts, "pve": pve, "pve_there": pve_there, "problems": problems}


def pve_is_up() -> bool:
    """Is the cluster's file system mounted? Else /etc/pve is an empty directory. May hang."""
    return os.path.isdir(paths.below_root("/etc/pve/nodes"))


def _guarded(read: Callable[[str], dict[str, Any]], root: str, problems: list[str]) -> dict[str, Any] | None:
    """One product's facts; what cannot be read is a problem, and does not keep the other's from being read."""
    try:
        return read(root)
    except OSError as error:
        problems.append(f"cannot read {error.filename}: {error.strerror}")
        return None


def pve_user_address(lines: Iterable[str], user: str = "root@pam") -> str:
    """A user's address in PVE's user.cfg: the seventh field."""
    for line in lines:
        fields = line.rstrip("\n").split(":")
        if fields[:2] == ["user", user] and len(fields) > 6 and fields[6]:
            return _address(unquote(fields[6]))
    return ""


def pbs_user_address(lines: Iterable[str], user: str = "root@pam") -> str:
    """A user's address in PBS's user.cfg: the section's `email`."""
    inside = False
    for line in lines:
        if line[:1] not in (" ", "\t", ""):
            kind, _, name = line.strip().partition(":")
            inside = (kind, name.strip()) == ("user", user)
        elif inside and (words := line.split(None, 1))[:1] == ["email"] and len(words) == 2:
            return _address(words[1].strip())
    return ""


def parse_forward_file(lines: Iterable[str]) -> tuple[bool, list[str]]:
    """Does a .forward pipe into proxmox-mail-forward; and the addresses in it."""
    entries = [entry.strip() for line in lines if not line.lstrip().startswith("#") for entry in line.split(",")]
    clean = [entry.strip('"').strip() for entry in entries]
    pipes = any(entry.startswith("|") and entry[1:].strip().split(" ")[0] in FORWARD_PROGRAMS for entry in clean)
    return pipes, [entry for entry in clean if not entry.startswith(("|", "/", ":")) and _address(entry)]


def corosync(lines: Iterable[str]) -> tuple[str, list[str]]:
    """The cluster's name and its nodes, in order."""
    name, nodes, inside = "", [], ""
    for line in lines:
        words = line.split()
        if line.rstrip().endswith("{"):
            inside = words[0]
        elif words[:1] == ["cluster_name:"] and len(words) > 1:
            name = words[1]
        elif inside == "node" and words[:1] == ["name:"] and len(words) > 1:
            nodes.append(words[1])
    return name, nodes


def _pve(root: str) -> dict[str, Any]:
    cluster, nodes = corosync(_lines(f"{root}/etc/pve/corosync.conf"))
    admin = pve_user_address(_lines(f"{root}/etc/pve/user.cfg"))
    return {
        "admin": admin, "admin_source": "/etc/pve/user.cfg" if admin else "", "cluster": cluster, "nodes": nodes,
        "email_from": _option(_lines(f"{root}/etc/pve/datacenter.cfg"), "email_from"),
        "settings": _text(f"{root}{paths.CLUSTER_SETTINGS}"),
        "microsoft_targets": smtp_targets(_lines(f"{root}/etc/pve/notifications.cfg")),
    }  # fmt: skip


def _pbs(root: str) -> dict[str, Any]:
    admin = pbs_user_address(_lines(f"{root}/etc/proxmox-backup/user.cfg"))
    return {
        "admin": admin, "admin_source": "/etc/proxmox-backup/user.cfg" if admin else "",
        "email_from": _option(_lines(f"{root}/etc/proxmox-backup/node.cfg"), "email-from"),
        "microsoft_targets": smtp_targets(_lines(f"{root}/etc/proxmox-backup/notifications.cfg")),
    }  # fmt: skip


def _option(lines: Iterable[str], key: str) -> str:
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def _address(text: str) -> str:
    return text if _ADDRESS.fullmatch(text) else ""


def _text(path: str) -> str | None:
    """A file's text; None if there is none. An error other than that is the caller's: then nothing is changed."""
    try:
        with open(path, "rb") as source:
            return source.read(SIZE_LIMIT).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _lines(path: str) -> list[str]:
    return (_text(path) or "").splitlines()


def in_child(look: Callable[[], Any], limit: float) -> Any:
    """What `look` finds (JSON can say it), or None if it does not within `limit` seconds: in a child, that may hang in the kernel
    where not even SIGKILL ends it. While one hangs (it holds a lock), no other is begun."""
    try:
        lock = os.open(f"{paths.host()}/.reading", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            answer = json.dumps(look()).encode()
            while answer:
                answer = answer[os.write(write, answer) :]
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    os.close(lock)  # the child's copy holds it
    end = time.monotonic() + limit
    answer = b""
    try:
        while (left := end - time.monotonic()) > 0 and select.select([read], [], [], left)[0]:
            if not (chunk := os.read(read, 1 << 16)):
                break
            answer += chunk
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0 if answer else os.WNOHANG)
    try:
        return json.loads(answer)
    except ValueError:
        return None


def _replace(name: str, text: str | None) -> None:
    """Let a file hold this text, or be gone; complete before it has its name, and the group's to read. A queue runner that is
    at work notices the change by itself."""
    path = f"{paths.host()}/{name}"
    if _text(path) == text:
        return
    if text is None:
        os.unlink(path)
    else:  # the group is the directory's, which is set-group-ID
        files.replace(path, text.encode("utf-8", "surrogateescape"), mode=0o640)


def main() -> None:
    """proxmox-graph-mail-host.service."""
    log.setup("host")
    try:
        sys.exit(0 if refresh() else 75)
    except OSError as error:
        log.line(f"cannot write {paths.host()}: {error.strerror}", log.WARNING)
        sys.exit(75)
