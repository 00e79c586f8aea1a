"""What the host's own programs say: which package owns sendmail, which units run, what another node answers."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence

PATIENCE = 15.0  # seconds
UNITS = ("proxmox-graph-mail.socket", "proxmox-graph-mail.path", "proxmox-graph-mail-submit.socket")
"""What must be active for mail to be taken and sent."""


def sendmail_owner(path: str = "/usr/sbin/sendmail") -> str:
    """The Debian package that /usr/sbin/sendmail is of; empty if of none, or if this is no Debian."""
    if not shutil.which("dpkg-query"):
        return ""
    text = output(["dpkg-query", "-S", path])
    return text.partition(":")[0].strip() if text else ""


def inactive_units(*, hand_over: bool) -> list[str] | None:
    """Those of UNITS (and with `hand_over` of what hands root's mail over) that do not run; None where there is no systemd, or
    the units are not installed."""
    if not os.path.isdir("/run/systemd/system") or not os.path.exists("/usr/lib/systemd/system/proxmox-graph-mail.socket"):
        return None
    units = (*UNITS, "proxmox-graph-mail-hand-over.path") if hand_over else UNITS
    states = output(["systemctl", "is-active", *units]).split()
    return [unit for unit, state in zip(units, states, strict=False) if state != "active"]


def service_status() -> dict[str, str]:
    """`systemctl show` of the queue runner: ActiveState, Result, StatusText; empty where there is no systemd."""
    if not os.path.isdir("/run/systemd/system"):
        return {}
    text = output(["systemctl", "show", "proxmox-graph-mail.service", "-p", "ActiveState,Result,StatusText"])
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def on_node(node: str, address: str, command: Sequence[str]) -> tuple[int, str]:
    """Run a command on another node of the cluster, by its own ssh (root's key, the cluster's known hosts); status and output, or
    what ssh said."""
    hosts = f"/etc/pve/nodes/{node}/ssh_known_hosts"
    known = ["-o", f"UserKnownHostsFile={hosts}"] if os.path.exists(hosts) else []
    argv = [
        "ssh",
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=5",
        "-o",
        f"HostKeyAlias={node}",
        *known,
        f"root@{address or node}",
        *command,
    ]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=2 * PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return 255, str(error)
    words = done.stdout if done.returncode != 255 else done.stderr
    return done.returncode, words.decode("utf-8", "replace").strip()


def members(path: str = "/etc/pve/.members") -> dict[str, str]:
    """The cluster's nodes and their addresses, as pmxcfs has them."""
    try:
        with open(path, "rb") as file:
            content = json.load(file)
        return {str(name): str(node.get("ip", "")) for name, node in content["nodelist"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def tell(command: str, text: str) -> None:
    """Run an admin's command (by the shell, as cron does) with a text on its standard input. Raises OSError, TimeoutExpired."""
    subprocess.run(  # noqa: S603 - the admin's own, from the settings that only root writes
        ["/bin/sh", "-c", command], input=text.encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=2 * PATIENCE, check=False, cwd="/", env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
    )  # fmt: skip


def output(command: Sequence[str]) -> str:
    """A command's standard output, whatever its status; empty if it cannot be run."""
    try:
        done = subprocess.run(list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")
