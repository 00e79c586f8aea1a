"""What the queue runner does once a day: say that the credential ends, and report mail that failed or does not go.

    STATE/duties.json   what has been said: the credential's end and the stage of its warning, the dates of the last line in the
                        log about it and of the last report; and what is to be said: failed mail that was removed

The mails go to the administrator by the queue, like any other. In a cluster whose settings are the cluster's, the node with
the lowest name alone speaks of the credential.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from proxmox_graph_mail import files, log, paths
from proxmox_graph_mail.admin.connection import address_book, ends
from proxmox_graph_mail.admin.screen import local
from proxmox_graph_mail.admin.state import mailbox
from proxmox_graph_mail.delivery import credential_end
from proxmox_graph_mail.delivery.record import SUBJECT_LIMIT, Record
from proxmox_graph_mail.errors import MailError
from proxmox_graph_mail.host import login_name, this_host
from proxmox_graph_mail.message.charset import raw_header, unfolded
from proxmox_graph_mail.proxmox import facts
from proxmox_graph_mail.rfc822.header import fields
from proxmox_graph_mail.settings import Settings, load, source
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope
from proxmox_graph_mail.spool.store import Spool, arrival
from proxmox_graph_mail.spool.usage import daily_recipients, refused_lately
from proxmox_graph_mail.submission import mailq
from proxmox_graph_mail.submission.intake import store

WAITING = 86400.0  # seconds in the queue after which a message is reported
FAILED = 3600.0  # seconds after which one that failed is: whoever sent it may be looking at it now
SHOWN = 50
LISTED = "proxmox-graph-mail queue show ID tells more; queue retry ID, or queue remove ID, stops this report."
HEADER_LIMIT = 64 << 10  # bytes of a message that are read for its subject
LOOKED_AT = 500  # messages of the queue, and of failed/, that the report counts: the oldest


class Duties:
    """Called at the runner's start and once a day; says nothing twice."""

    def __init__(self, spool: Spool, state: Path, today: Callable[[], date] = date.today) -> None:
        self._spool = spool
        self._path = state / "duties.json"
        self._record = Record(state)
        self._today = today

    def __call__(self, expired: Sequence[str] = ()) -> None:
        """Do what is due; report `expired`, failed mail that was removed. Whatever is wrong, it raises nothing: mail goes on."""
        try:
            settings = load()
            before = files.read_json(self._path)
            said = before | {"expired": [*before.get("expired", ()), *expired][-LOOKED_AT:]}
            now = said | self._credential(settings, said) | self._report(settings, said)
            if now != before:
                files.replace(str(self._path), json.dumps(now).encode())
        except (MailError, OSError) as error:
            log.line(f"the daily duties failed: {error}", log.WARNING)

    def _credential(self, settings: Settings, said: dict[str, Any]) -> dict[str, Any]:
        end = ends(settings)
        if end is None:
            return {}
        today = self._today()
        stage = credential_end.stage((end - today).days)
        if stage is None or not _speaks_for_the_cluster():
            return {}
        text = credential_end.words(settings.graph_credential, end, today)
        ended = end < today
        if said.get("expiry_logged") != today.isoformat():
            log.line(f"warning: {text}: proxmox-graph-mail rotate", log.CRIT if ended else log.WARNING)
        logged = {"expiry_logged": today.isoformat()}
        mark = [end.isoformat(), stage]
        if said.get("expiry") == mark:
            return logged
        if not ended:
            host = this_host().name
            remedy = credential_end.REMEDIES.get(settings.graph_credential, "Renew it.\n")
            app = f"The app registration: client ID {settings.graph_client_id}, tenant {settings.graph_tenant_id}.\n"
            body = f"On {host} {text}. After that no mail leaves this host: no backup report, no alarm.\n\n{app}{remedy}"
            self._submit(settings, f"{host}: {text}", body)
        return logged | {"expiry": mark}

    def _report(self, settings: Settings, said: dict[str, Any]) -> dict[str, Any]:
        today = self._today().isoformat()
        if said.get("report") == today:
            return {}
        now = time.time()
        # Only so many are read: mail must not wait while a hundred thousand are.
        listing = mailq.listing(self._spool, before=now - min(WAITING, FAILED), limit=LOOKED_AT)
        patience = {"failed": FAILED, "held": FAILED}
        rows = [row for row in listing if now - arrival(row["id"]) > patience.get(row["state"], WAITING)]
        outcomes = [row for row in self._record.read() if row["state"] in ("sent", "held")]
        near = mailbox(self._spool, now)["near"]
        notes = [*_refused(self._spool, now), *_removed(said["expired"]), *([f"{near}."] if near else [])]
        if not (rows or notes) or (outcomes and outcomes[-1]["state"] == "held"):
            return {}  # while Graph refuses everything, a report would only wait with the rest
        host = this_host().name
        title = (
            f"{mailq.messages(len(rows))} not sent"
            if rows
            else "users' mail was refused or removed"
            if len(notes) > bool(near)
            else "the mailbox's daily limit is near"
        )
        self._submit(settings, f"{host}: {title}", "\n".join([*self._listed(rows, host, len(listing)), *notes, ""]))
        return {"report": today, "expired": []}

    def _listed(self, rows: list[dict[str, Any]], host: str, seen: int) -> list[str]:
        """The messages that were not sent, in lines."""
        if not rows:
            return []
        lines = [f"Not sent on {host}: {mailq.messages(len(rows))} that failed, are held, or have waited over a day.", ""]
        for row in rows[:SHOWN]:
            subject = subject_of(self._spool, row["id"], failed=row["state"] == "failed")
            arrived = local(arrival(row["id"]))
            lines += [
                subject or "(no subject)",
                f"    {row['id']}  {row['state']}  {arrived}  for {', '.join(row['recipients'][:3])}",
                f"    {row['reason']}",
            ]
        if len(rows) > SHOWN:
            lines.append(f"and {'at least ' if seen >= LOOKED_AT else ''}{len(rows) - SHOWN} more")
        return [*lines, "", LISTED, ""]

    def _submit(self, settings: Settings, subject: str, body: str) -> None:
        """Into the queue, for the administrator."""
        people = address_book(settings).administrators()[0]
        envelope = Envelope(
            sender="root", recipients=people, uid=os.getuid(), arrived=time.time(), full_name="proxmox-graph-mail", notify="never"
        )
        header = f"Subject: {subject}\nTo: {', '.join(people)}\nAuto-Submitted: auto-generated\n"
        message = f'{header}Content-Type: text/plain; charset="utf-8"\n\n{body}'
        store(self._spool, envelope, [message.encode("utf-8", "replace")], quota=False)


def subject_of(spool: Spool, queue_id: str, *, failed: bool) -> str:
    """A message's subject, on one line and printable; empty if it has none, or cannot be read."""
    try:
        with open(spool.open(queue_id, failed=failed), "rb") as file:
            file.readline(LINE_LIMIT)
            header = fields(file.read(HEADER_LIMIT))
    except (OSError, MailError):
        return ""
    subject = next((value for name, value in header if name.lower() == b"subject"), b"")
    return log.printable(unfolded(raw_header(subject)))[:SUBJECT_LIMIT]


def _refused(spool: Spool, now: float) -> list[str]:
    limit = daily_recipients(spool)
    return [
        f"Mail of {login_name(uid)} (uid {uid}) was refused: more than {limit} recipients in 24 hours (USER_DAILY_RECIPIENTS)."
        for uid in refused_lately(spool, now)[:SHOWN]
    ]


def _removed(expired: Sequence[str]) -> list[str]:
    if not expired:
        return []
    return [f"Removed after 30 days: users' failed mail, {mailq.messages(len(expired))}: {' '.join(expired[:SHOWN])}."]


def _speaks_for_the_cluster() -> bool:
    """Is the credential this host's own, or is this the cluster's first node?"""
    nodes = facts.known().nodes
    values = source().values
    shared = any(
        key in values and values[key].file == paths.CLUSTER_SETTINGS for key in ("graph_client_secret", "credential_expires")
    )
    return not (shared and nodes) or this_host().name == min(node.lower() for node in nodes)
