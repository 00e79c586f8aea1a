"""`status`: the queue, the last days, the credential and the service at a glance; for people, scripts, Prometheus and Nagios."""

import json
import time
from collections.abc import Callable
from typing import Any

from proxmox_graph_mail.admin.state import STATES, state
from proxmox_graph_mail.delivery.credential_end import when
from proxmox_graph_mail.errors import EX_OK, MailError, SpoolError
from proxmox_graph_mail.log import duration, printable

OLD = 3600  # seconds in the queue from which Nagios warns
EXPIRY_WARNING, EXPIRY_CRITICAL = 30, 7
"""Days before the credential's end from which Nagios warns, and cries."""


def show(*, as_json: bool = False, prometheus: bool = False, nagios: bool = False) -> int:
    """The verb: print the state in one of its forms; the exit status."""
    if nagios:
        try:
            code, line = nagios_line(state())
        except SpoolError as error:
            code, line = 2, f"CRITICAL - {error}".replace("|", "/")
        except MailError as error:
            code, line = 3, f"UNKNOWN - {error}"
        print(printable(line))
        return code
    now = state()
    if as_json:
        print(json.dumps(now, indent=1))
    elif prometheus:
        print(metrics(now), end="")
    else:
        from proxmox_graph_mail.admin.screen import put  # machines ask more often than people

        for name, value in rows(now):
            put(value, begin=f"{f'{name}:' if name else '':<14}")
    return EX_OK


def rows(now: dict[str, Any]) -> list[tuple[str, str]]:
    """What a person reads."""
    queue, today, credential = now["queue"], now["today"], now["credential"]
    words = ", ".join(f"{queue[name]} {name}" for name in STATES if queue[name]) or "empty"
    oldest = f"; the oldest has waited for {duration(queue['oldest'])}" if queue["oldest"] >= 60 else ""
    cluster = f" of the cluster {now['cluster']}" if now["cluster"] else ""
    out = [("host", f"{now['host']}{cluster}, proxmox-graph-mail {now['version']}"), ("queue", f"{words}{oldest}")]
    out += [("", f"{row['messages']} {row['state']}: {row['reason']}") for row in now["reasons"][:5]]
    out += [("mailbox", now["mailbox"]["near"])] if now["mailbox"]["near"] else []
    out += [("spool", fault) for fault in now["spool"]] + [("units", trouble) for trouble in now["units"]]
    if now["watch"]["alarm"]:
        out.append(("ALARM", now["watch"]["alarm"]))
    if now["alarm"]:
        out.append(("ALARM", f"no mail is leaving this host: {now['alarm']}"))
    out.append(("today", f"{today['sent']} sent, {today['failed']} failed, throttled {today['throttled']} times"))
    out.append(("uncertain", f"{now['uncertain']} on record, {today['uncertain']} of them today"))
    out.append(("last success", _ago(now["last_success"])))
    settings = now["settings"]
    out.append(("settings", settings["error"] or f"as {settings['sender']}, fingerprint {settings['fingerprint']}"))
    out += [("", settings["fault"])] if settings["fault"] else []
    if credential:
        left = f"{when(credential['days'])}, on {credential['ends']}" if credential["ends"] else "expiry date unknown"
        out.append(("credential", f"{credential['kind']}, {left}"))
    if now["service"]["state"]:
        text = f" ({now['service']['text']})" if now["service"]["text"] else ""
        out.append(("queue runner", f"{now['service']['state']}{text}"))
    return out


def _ago(stamp: str | None) -> str:
    if stamp is None:
        return "none on record"
    from proxmox_graph_mail.admin.screen import local

    seconds = time.time() - _epoch(stamp)
    return f"{local(_epoch(stamp))}, {duration(seconds) if seconds >= 60 else f'{seconds:.0f} seconds'} ago"


def _epoch(stamp: str) -> float:
    import calendar

    return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))


def nagios_line(now: dict[str, Any]) -> tuple[int, str]:
    """Exit status and line (Nagios Plugin Development Guidelines, "Plugin output")."""
    queue, credential = now["queue"], now["credential"]
    days = credential["days"] if credential else None
    troubles: list[tuple[int, str]] = []

    def look(level: int, trouble: bool, text: Callable[[], str]) -> None:
        if trouble:
            troubles.append((level, text()))

    look(2, bool(now["alarm"]), lambda: f"no mail is leaving this host: {now['alarm']}")
    look(2, bool(now["settings"]["error"]), lambda: f"settings: {now['settings']['error']}")
    look(2, bool(now["settings"]["fault"]), lambda: str(now["settings"]["fault"]))
    troubles += [(2, fault) for fault in (*now["spool"], *now["units"])]
    watch = now["watch"]["alarm"]
    look(2, bool(watch) and not troubles, lambda: f"the watch says: {watch}")
    look(2, bool(queue["held"]), lambda: f"{queue['held']} held{_commonest_reason(now, 'held')}")
    look(2, days is not None and days <= EXPIRY_CRITICAL, lambda: f"the credential {when(days or 0)}")
    look(1, bool(queue["failed"]), lambda: f"{queue['failed']} failed{_commonest_reason(now, 'failed')}")
    mailbox = now["mailbox"]
    look(2 if mailbox["recipients"] >= mailbox["limit"] else 1, bool(mailbox["near"]), lambda: str(mailbox["near"]))
    look(1, queue["oldest"] > OLD, lambda: f"mail has waited for {duration(queue['oldest'])}")
    look(1, days is not None and EXPIRY_CRITICAL < days <= EXPIRY_WARNING, lambda: f"the credential {when(days or 0)}")
    level = max((level for level, _ in troubles), default=0)
    words = "; ".join(text for _, text in sorted(troubles, key=lambda one: -one[0])) or "no problems"
    numbers = " ".join(f"{name}={queue[name]}" for name in STATES)
    numbers += f" oldest={queue['oldest']}s sent_today={now['today']['sent']}"
    words = words.replace("\n", " ").replace("|", "/")  # what stands behind a bar is performance data
    return level, f"{('OK', 'WARNING', 'CRITICAL')[level]} - {words} | {numbers}"


def _commonest_reason(now: dict[str, Any], state: str) -> str:
    """Why most messages of a state are in it."""
    return next((f" ({row['reason']})" for row in now["reasons"] if row["state"] == state), "")


def metrics(now: dict[str, Any]) -> str:
    """Prometheus' text format: gauges, for the record is bounded."""
    out: list[str] = []

    def gauge(name: str, text: str, *values: tuple[str, float]) -> None:
        out.append(f"# HELP proxmox_graph_mail_{name} {text}")
        out.append(f"# TYPE proxmox_graph_mail_{name} gauge")
        out.extend(f"proxmox_graph_mail_{name}{labels} {value:g}" for labels, value in values)

    queue, today, credential = now["queue"], now["today"], now["credential"]
    gauge("queue_messages", "Messages by state.", *((f'{{state="{name}"}}', queue[name]) for name in STATES))
    gauge("recipients_24h", "Recipients of the last 24 hours.", ("", now["mailbox"]["recipients"]))
    gauge("recipients_24h_limit", "What the mailbox may have; 0: any number.", ("", now["mailbox"]["limit"]))
    gauge("queue_oldest_seconds", "Age of the oldest message that waits.", ("", queue["oldest"]))
    gauge("today", "Outcomes since midnight.", *((f'{{outcome="{name}"}}', count) for name, count in today.items()))
    if now["last_success"]:
        out += _exact("last_success_timestamp_seconds", "When Graph last took a mail.", _epoch(now["last_success"]))
    if credential and credential["ends"]:
        ends = _epoch(f"{credential['ends']}T00:00:00Z")
        out += _exact("credential_end_timestamp_seconds", "When the credential ends.", ends)
    if now["watch"]["last_look"]:
        out += _exact("watch_timestamp_seconds", "When the watch last looked.", _epoch(now["watch"]["last_look"]))
    if now["watch"]["alive"]:
        out += _exact("alive_timestamp_seconds", "A sign of life a day: when this host was well.", _epoch(now["watch"]["alive"]))
    gauge("alarm", "1 while no mail is leaving this host.", ("", bool(now["alarm"] or now["watch"]["alarm"])))
    gauge("runner_restarts", "How often systemd has restarted the queue runner in a row.", ("", now["service"]["restarts"] or 0))
    gauge("faults", "What is wrong with the spool and the units.", ("", len(now["spool"]) + len(now["units"])))
    gauge("settings_valid", "1 while the settings can be read.", ("", not now["settings"]["error"]))
    return "\n".join(out) + "\n"


def _exact(name: str, text: str, value: float) -> list[str]:
    full = f"proxmox_graph_mail_{name}"
    return [f"# HELP {full} {text}", f"# TYPE {full} gauge", f"{full} {value:.0f}"]
