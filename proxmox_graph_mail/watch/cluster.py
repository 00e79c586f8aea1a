"""Each node of a cluster tells the others whether its mail goes, and notices when another one's has stood still for an hour.

    /etc/pve/priv/proxmox-graph-mail-watch/NODE   a JSON object of some 200 bytes: time, since, reason (empty: mail goes)

It is written on a change, and every 15 minutes; pmxcfs carries it to all nodes. Without quorum nothing is written, and nothing is
wrong. /etc/pve may hang: a child with a time limit reads and writes there. A node that says nothing may be switched off: that is
for an outside watch to notice, by the sign of life.
"""

import json
import os
import subprocess
from typing import Any

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.log import duration, printable
from proxmox_graph_mail.proxmox import facts

EVERY = 900.0  # seconds between two writes, unless something changed
STILL = 3600.0  # seconds for which another node's mail must have stood still
FRESH = 2 * EVERY  # seconds after which what a node says is too old to be believed
LIMIT = 3.0  # seconds that /etc/pve may take
SIZE = 1000  # bytes read of a file
REASON = 120  # characters of a reason
PATIENCE = 20.0  # seconds for sendmail


def exchange(own: str, lasts: float, memory: dict[str, float], now: float, wall: float) -> dict[str, float]:
    """Say how this node is (`own`: why its mail does not go, for `lasts` seconds), and hear the others; what to remember.

    `now` is in seconds since boot, `wall` since the epoch.
    """
    if len(facts.known().nodes) < 2 or not facts.pve_is_up():
        return memory
    node = this_host().name
    due = now - memory.get("written", -EVERY) >= EVERY or bool(memory.get("trouble", 0.0)) != bool(own)
    mine = json.dumps({"time": round(wall), "since": round(wall - lasts) if own else 0, "reason": printable(own)[:REASON]})
    heard = facts.in_child(lambda: _exchange(node, mine if due else "", facts.known().nodes), LIMIT)
    if not isinstance(heard, dict):
        return memory  # busy, or hanging: the next minute tells
    if heard["written"]:
        memory = memory | {"written": now, "trouble": float(bool(own))}
    still = {f"still {name}": float(said["since"]) for name, said in heard["nodes"].items() if _stands_still(said, wall)}
    for name, said in heard["nodes"].items():
        if (key := f"still {name}") in still and memory.get(key) != still[key]:
            _report(node, name, said, wall)
    recovered = {f"still {name}" for name, said in heard["nodes"].items() if not said.get("reason")}
    return {key: value for key, value in memory.items() if key not in recovered} | still


def _stands_still(said: dict[str, Any], wall: float) -> bool:
    return bool(said["reason"]) and 0 < said["since"] <= wall - STILL and abs(wall - said["time"]) <= FRESH


def _report(node: str, other: str, said: dict[str, Any], wall: float) -> None:
    """In a mail of this node's own: the other one's does not go."""
    text = f"no mail has left {other} for {duration(wall - said['since'])}: {printable(str(said['reason']))}"
    log.line(text, log.WARNING)
    message = (
        f"Subject: {other} cannot send mail\nTo: root\nAuto-Submitted: auto-generated\n"
        f'Content-Type: text/plain; charset="utf-8"\n\nN{text[1:]}.\n\n{node} sends this mail because {other} says so in the '
        f"cluster's file system. On {other}, run: proxmox-graph-mail check\n"
    )
    submit(message)


def submit(message: str) -> None:
    """Hand in a mail to root."""
    command = [paths.SENDMAIL, "-odb", "-F", "proxmox-graph-mail", "root"]
    try:
        subprocess.run(command, input=message.encode(), capture_output=True, timeout=PATIENCE, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        log.line(f"cannot report it: {type(error).__name__}", log.WARNING)


def _exchange(node: str, mine: str, nodes: tuple[str, ...]) -> dict[str, Any]:
    """In the child: write ours, read theirs."""
    directory = paths.below_root(paths.CLUSTER_WATCH)
    written = bool(mine) and _write(directory, node, mine)
    heard = {}
    for name in nodes:
        if name.lower() != node.lower() and (said := _read(f"{directory}/{name.lower()}")):
            heard[name.lower()] = said
    return {"written": written, "nodes": heard}


def _write(directory: str, node: str, mine: str) -> bool:
    try:
        os.makedirs(directory, exist_ok=True)
        # In place: each step goes to every node. Whoever reads it half written hears it a minute later.
        fd = os.open(f"{directory}/{node}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, mine.encode())
        finally:
            os.close(fd)
    except OSError:
        return False  # no quorum, or the file system is being mounted
    return True


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            said = json.loads(file.read(SIZE))
        sound = isinstance(said["reason"], str) and all(isinstance(said[key], int | float) for key in ("time", "since"))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return said if sound else {}
