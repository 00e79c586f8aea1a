"""`check --cluster`: every node's version, settings, queue and last success, over the cluster's own ssh."""

import json
from collections.abc import Iterator
from typing import Any

from proxmox_graph_mail.admin.finding import FAIL, OK, WARN, Finding
from proxmox_graph_mail.admin.privileges import refresh_facts, require_root
from proxmox_graph_mail.admin.state import STATES, state
from proxmox_graph_mail.errors import UsageError
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.proxmox import facts, system


def cluster_findings() -> Iterator[Finding]:
    """One finding a node; then whether they agree."""
    require_root("the cluster's nodes")
    refresh_facts()
    known = facts.known()
    if not known.nodes:
        raise UsageError("this host is not in a cluster (/etc/pve/corosync.conf names no nodes)")
    addresses = system.members()
    seen: dict[str, dict[str, Any]] = {}
    here = this_host().name
    for node in known.nodes:
        if node.lower() == here:
            seen[node] = state()
        else:
            status, text = system.on_node(node, addresses.get(node, ""), ["proxmox-graph-mail", "status", "--json"])
            try:
                seen[node] = json.loads(text)
            except ValueError:
                yield _silent(node, status, text)
                continue
        yield _of(node, seen[node])
    for what, values in (
        ("versions", {node: one["version"] for node, one in seen.items()}),
        ("settings", {node: one["settings"]["fingerprint"] or "cannot be read" for node, one in seen.items()}),
    ):
        same = len(set(values.values())) <= 1
        text = "the same on every node" if same else ", ".join(f"{node}: {value}" for node, value in values.items())
        yield Finding(what, OK if same else WARN, text)


def _silent(node: str, status: int, text: str) -> Finding:
    if status == 127:
        return Finding(node, FAIL, "proxmox-graph-mail is not installed", "apt install it there: that node cannot send mail")
    said = " ".join(text.split())[:200] or f"status {status}"
    return Finding(node, FAIL, f"does not answer: {said}", f"ssh root@{node} proxmox-graph-mail status")


def _of(node: str, one: dict[str, Any]) -> Finding:
    queue = one["queue"]
    words = ", ".join(f"{queue[name]} {name}" for name in STATES if queue[name]) or "queue empty"
    trouble = one["alarm"] or one["settings"]["error"]
    print_ = one["settings"]["fingerprint"] or "?"
    text = f"{one['version']}, settings {print_}, {words}, last success {one['last_success'] or 'never'}"
    state_ = FAIL if trouble or queue["held"] else WARN if queue["failed"] else OK
    return Finding(
        node, state_, f"{text}{f'; {trouble}' if trouble else ''}", f"proxmox-graph-mail check on {node}" if trouble else ""
    )
