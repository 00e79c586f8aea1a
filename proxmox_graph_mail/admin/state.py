"""The state of this host's mail, in numbers: what `status` shows in each of its forms, and what `check --cluster` compares."""

import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

from proxmox_graph_mail import __version__, paths
from proxmox_graph_mail.admin.privileges import refresh_facts
from proxmox_graph_mail.admin.summary import settings_summary
from proxmox_graph_mail.delivery.alarm import raised
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.errors import PrivilegeError
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.proxmox import facts, system
from proxmox_graph_mail.spool.store import Spool, arrival
from proxmox_graph_mail.submission import mailq

STATES = ("queued", "deferred", "held", "failed")


def state() -> dict[str, Any]:
    """Everything, as `status --json` prints it. Times are RFC 3339 in UTC, ages seconds. Raises PrivilegeError, SpoolError."""
    spool = Spool()
    mailq.require_access(spool)
    refresh_facts()  # an idle node hears of the cluster's new settings when somebody asks, or mail comes
    now = time.time()
    rows = mailq.listing(spool)
    ages = [now - arrival(row["id"]) for row in rows if row["state"] != "failed"]
    try:
        record = Record(Path(paths.state())).read()
    except PermissionError:
        raise PrivilegeError("only root and the service user may see what was sent") from None
    midnight = datetime.combine(date.today(), datetime.min.time()).timestamp()
    record = [row for row in record if not row["relay"]]  # Proxmox's notification system is not Graph
    sent = [row["time"] for row in record if row["state"] == "sent"]
    today = [row for row in record if row["time"] >= midnight]
    reasons: dict[str, int] = {}
    for row in rows:
        if row["reason"]:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    service = system.service_status()
    return {
        "version": __version__, "host": this_host().name, "cluster": facts.known().cluster,
        "queue": {name: sum(row["state"] == name for row in rows) for name in STATES} | {"oldest": round(max(ages, default=0.0))},
        "reasons": [{"reason": reason, "messages": count} for reason, count in sorted(reasons.items(), key=lambda one: -one[1])],
        "last_success": mailq.stamp(sent[-1]) if sent else None,
        "today": {
            "sent": sum(row["state"] == "sent" for row in today), "failed": sum(row["state"] == "failed" for row in today),
            "throttled": sum(row["throttled"] for row in today), "uncertain": sum(row["uncertain"] for row in today),
        },
        "uncertain": sum(row["uncertain"] for row in record),
        "alarm": raised(Path(paths.state())),
        "service": {"state": service.get("ActiveState"), "result": service.get("Result"), "text": service.get("StatusText")},
    } | _settings()  # fmt: skip


def _settings() -> dict[str, Any]:
    summary = settings_summary()
    if summary["error"]:
        return {"settings": {"error": summary["error"], "fingerprint": None, "sender": None}, "credential": None}
    end = summary["ends"]
    return {
        "settings": {"error": None, "fingerprint": summary["fingerprint"], "sender": summary["sender"]},
        "credential": {
            "kind": summary["kind"], "ends": end, "days": (date.fromisoformat(end) - date.today()).days if end else None,
        },
    }  # fmt: skip
