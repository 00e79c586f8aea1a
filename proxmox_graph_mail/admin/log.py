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
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.errors import PrivilegeError, UsageError
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.submission.mailq import stamp

_AGE = re.compile(r"(\d{1,5})([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
STATES = ("sent", "deferred", "held", "failed")


def log(
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Only mail for addresses that contain this.")] = "",
    state: Annotated[str, typer.Option("--state", help="Only this outcome: sent, deferred, held or failed.")] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="DATE|AGE", help="Since a date such as 2026-11-24, or an age such as 2d, 12h, 30m.")
    ] = "",
    number: Annotated[int, typer.Option("-n", min=1, help="Show only the newest N.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what became of the mail of the last weeks: each outcome with its time, recipients, subject and reason.

    Example: proxmox-graph-mail log --state failed --since 7d
    """
    if state and state not in STATES:
        raise UsageError(f"{printable(state)}: an outcome is one of {', '.join(STATES)}")
    begin = _begin(since) if since else 0.0
    try:
        outcomes = Record(Path(paths.state())).read()
    except PermissionError:
        raise PrivilegeError("only root and the service user may see what was sent") from None
    chosen = [row for row in outcomes if row["time"] >= begin and state in ("", row["state"]) and _is_for(row, to)]
    rows = chosen[-number:]
    if as_json:
        print(json.dumps([row | {"time": stamp(row["time"]), "arrived": stamp(row["arrived"])} for row in rows], indent=1))
        return
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["time"]))
        people = ", ".join(row["to"][:3]) + (f" and {row['recipients'] - 3} more" if row["recipients"] > 3 else "")
        print(printable(f"{when}  {row['id']}  {row['state']:<8}  {people}: {row['subject'] or '(no subject)'}"))
        if row["reason"] and row["state"] != "sent":
            print(printable(f"{'':21}{row['reason']}"))
    if not rows:
        print("no matching mail on record", file=sys.stderr)


def _is_for(row: dict[str, Any], to: str) -> bool:
    return not to or any(to.lower() in address.lower() for address in row["to"])


def _begin(text: str) -> float:
    if match := _AGE.fullmatch(text):
        return time.time() - int(match[1]) * _SECONDS[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(f"{printable(text)}: neither a date (2026-11-24) nor an age (2d, 12h, 30m)") from None
