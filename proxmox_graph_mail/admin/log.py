"""`log`: what became of the mail of the last weeks."""

import json
import re
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from proxmox_graph_mail import paths
from proxmox_graph_mail.admin.screen import local, put
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.errors import DataError, PrivilegeError, UsageError
from proxmox_graph_mail.log import duration, printable
from proxmox_graph_mail.submission.mailq import stamp

_AGE = re.compile(r"(\d{1,5})([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
STATES = ("sent", "deferred", "held", "failed")


def log(
    queue_id: Annotated[str, typer.Argument(metavar="[ID]", show_default=False)] = "",
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Only mail for addresses that contain this.")] = "",
    state: Annotated[str, typer.Option("--state", help="Only this outcome: sent, deferred, held or failed.")] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="DATE|AGE", help="Since a date such as 2026-11-24, or an age such as 2d, 12h, 30m.")
    ] = "",
    number: Annotated[int, typer.Option("-n", min=1, help="Show only the newest N.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what became of the mail of the last weeks: each outcome with its time, recipients, subject and reason.

    With a queue ID: that mail's whole history. Example: proxmox-graph-mail log --state failed --since 7d
    """
    if state and state not in STATES:
        raise UsageError(f"{printable(state)}: an outcome is one of {', '.join(STATES)}")
    begin = _begin(since) if since else 0.0
    chosen = [
        row for row in outcomes()
        if row["time"] >= begin and state in ("", row["state"]) and _is_for(row, to) and queue_id in ("", row["id"])
    ]  # fmt: skip
    rows = chosen[-number:]
    if as_json:
        print(json.dumps([row | {"time": stamp(row["time"]), "arrived": stamp(row["arrived"])} for row in rows], indent=1))
        return
    if queue_id and not rows:
        raise DataError(
            f"{printable(queue_id)} is not on record; proxmox-graph-mail queue show tells of mail that was not tried yet"
        )
    for row in rows:
        _show(row, whole=bool(queue_id))
    if not rows:
        print("no matching mail on record", file=sys.stderr)


def _show(row: dict[str, Any], *, whole: bool) -> None:
    """One outcome; with `whole` everything that is known of it."""
    people = ", ".join(row["to"][: None if whole else 3])
    people += f" and {row['recipients'] - 3} more" if row["recipients"] > 3 and not whole else ""
    put(f"{people}: {row['subject'] or '(no subject)'}", begin=f"{local(row['time'])}  {row['id']}  {row['state']:<8}  ", hang=4)
    if row["reason"] and (row["state"] != "sent" or whole):
        put(row["reason"], begin="    ")
    if whole:
        more = [f"attempt {row['attempts']}", f"{row['size']} bytes", f"submitted {local(row['arrived'])} by uid {row['uid']}"]
        more += [f"{duration(row['delay'])} after it was submitted"] if row["delay"] >= 60 else []
        more += [f"request-id {row['request_id']}"] if row["request_id"] else []
        put(", ".join(more), begin="    ")


def history(queue_id: str) -> bool:
    """Print what is on record of a mail that is not in the queue any more; is there anything? Raises PrivilegeError."""
    rows = [row for row in outcomes() if row["id"] == queue_id]
    for row in rows:
        _show(row, whole=True)
    return bool(rows)


def outcomes() -> list[dict[str, Any]]:
    """The record, oldest first. Raises PrivilegeError."""
    try:
        return Record(Path(paths.state())).read()
    except PermissionError:
        raise PrivilegeError("only root and the service user may see what was sent") from None


def _is_for(row: dict[str, Any], to: str) -> bool:
    return not to or any(to.lower() in address.lower() for address in row["to"])


def _begin(text: str) -> float:
    if match := _AGE.fullmatch(text):
        return time.time() - int(match[1]) * _SECONDS[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(f"{printable(text)}: neither a date (2026-11-24) nor an age (2d, 12h, 30m)") from None
