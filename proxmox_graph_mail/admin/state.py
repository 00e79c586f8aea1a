"""The state of this host's mail, in numbers: what `status` shows in each of its forms, and what `check --cluster` compares."""

import time
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

from proxmox_graph_mail import __version__, paths
from proxmox_graph_mail.admin.privileges import refresh_facts
from proxmox_graph_mail.admin.screen import local
from proxmox_graph_mail.admin.summary import settings_summary
from proxmox_graph_mail.delivery.alarm import raised
from proxmox_graph_mail.delivery.pace import SAID
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.errors import PrivilegeError
from proxmox_graph_mail.host import login_name, this_host
from proxmox_graph_mail.proxmox import facts
from proxmox_graph_mail.spool import condition, journal, suspended
from proxmox_graph_mail.spool.journal import NEW
from proxmox_graph_mail.spool.ledger import Ledger
from proxmox_graph_mail.spool.store import Spool, arrival
from proxmox_graph_mail.submission import mailq
from proxmox_graph_mail.watch import alarm as watch_alarm
from proxmox_graph_mail.watch import units

READ = 1000  # journals that `status` reads of each directory
STATES = ("queued", "deferred", "held", "failed")


def state() -> dict[str, Any]:
    """Everything, as `status --json` prints it. Times are RFC 3339 in UTC, ages seconds. Raises PrivilegeError, SpoolError."""
    spool = Spool()
    mailq.require_access(spool)
    refresh_facts()  # an idle node hears of the cluster's new settings when somebody asks, or mail comes
    now = time.time()
    counts, reasons, oldest = queue(spool, now)
    try:
        record = Record(Path(paths.state())).read()
    except PermissionError:
        raise PrivilegeError("only root and the service user may see what was sent") from None
    midnight = datetime.combine(date.today(), datetime.min.time()).timestamp()
    record = [row for row in record if not row["relay"]]  # Proxmox's notification system is not Graph
    sent = [row["time"] for row in record if row["state"] == "sent"]
    today = [row for row in record if row["time"] >= midnight]
    known_units = units.known(hand_over=bool(facts.known().forward_program))
    runner = known_units.get(units.RUNNER)
    return {
        "version": __version__, "host": this_host().name, "cluster": facts.known().cluster,
        "queue": {name: counts[name] for name in STATES} | {"oldest": round(now - oldest)},
        "reasons": [{"state": state, "reason": reason, "messages": count} for (state, reason), count in reasons.most_common()],
        "spool": list(condition.faults(spool).values()),
        "last_success": mailq.stamp(sent[-1]) if sent else None,
        "today": {
            "sent": sum(row["state"] == "sent" for row in today), "failed": sum(row["state"] == "failed" for row in today),
            "throttled": sum(row["throttled"] for row in today), "uncertain": sum(row["uncertain"] for row in today),
        },
        "uncertain": sum(row["uncertain"] for row in record),
        "alarm": raised(Path(paths.state())),
        "service": {
            "state": runner.active if runner else None, "result": runner.result if runner else None,
            "text": runner.text if runner else None, "restarts": runner.restarts if runner else 0,
        },
        "mailbox": mailbox(spool, now),
        "units": list(units.troubles(known_units).values()),
        "watch": {
            "alarm": watch_alarm.given() or None, "last_look": _stamp(watch_alarm.last_look()),
            "alive": _stamp(watch_alarm.alive()),
        },
    } | _settings()  # fmt: skip


def mailbox(spool: Spool, now: float) -> dict[str, Any]:
    """To how many recipients mail of this host went in the last 24 hours, whose it was, what the mailbox may have, and a sentence
    where that is near."""
    ledger = Ledger(spool.root)
    total, users = ledger.total(now), [(login_name(uid), count) for uid, count in ledger.by_user(now)]
    told = ""
    if ledger.limit and total >= SAID * ledger.limit:
        who = ", ".join(f"{name} {count}" for name, count in users[:5])
        told = f"{total} of the mailbox's {ledger.limit} recipients in 24 hours are used: {who}"
        if waits := next((reason for _, reason in ledger.waits.values() if "24 hours" in reason), ""):
            until = min(until for until, reason in ledger.waits.values() if reason == waits)
            told += f"; mail waits until {local(until)}" if until else "; mail waits"
    return {"recipients": total, "limit": ledger.limit, "by_user": dict(users), "near": told}


def queue(spool: Spool, now: float) -> tuple[Counter[str], Counter[tuple[str, str]], float]:
    """Messages by state, messages by state and reason, and when the oldest that waits was submitted (`now` if none does).

    Monitoring asks every minute, so no message is opened: its file's time, its journal (of the READ newest that have one) and the
    suspension of the whole queue tell. What has a journal that is not read counts as deferred, or failed.
    """
    counts: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    waits = suspended.read(spool)
    oldest = now
    for directory, failed in ((spool.queue, False), (spool.failed, True)):
        there = Spool.of(spool.root, directory)
        tried: set[str] = set()
        entries = list(there.entries(tried))
        read = set(sorted(tried)[-READ:])
        for entry in entries:
            past = journal.read(directory, entry.id) if entry.id in read else NEW
            unknown = entry.id in tried and not past.state
            state = "failed" if failed else "deferred" if unknown else journal.state_in_queue(past, entry.due)
            reason = past.reason
            if not failed:
                oldest = min(oldest, arrival(entry.id))
                if waits.covers(entry.due, now):
                    state, reason = waits.state, waits.reason
            counts[state] += 1
            reasons.update([(state, reason)] if reason else [])
    return counts, reasons, oldest


def _stamp(time: float) -> str | None:
    return mailq.stamp(time) if time else None


def _settings() -> dict[str, Any]:
    summary = settings_summary()
    if summary["error"]:
        shown = {"error": summary["error"], "fault": None, "fingerprint": None, "sender": None}
        return {"settings": shown, "credential": None}
    end = summary["ends"]
    shown = {name: summary[name] for name in ("error", "fault", "fingerprint", "sender")}
    days = (date.fromisoformat(end) - date.today()).days if end else None
    return {"settings": shown, "credential": {"kind": summary["kind"], "ends": end, "days": days}}
