"""`target show|add|test|remove`: Proxmox's notification targets, and which of them lead here."""

import contextlib
import json
import pwd
import re
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from proxmox_graph_mail.admin.follow import Leg, follow
from proxmox_graph_mail.admin.group import Group
from proxmox_graph_mail.admin.privileges import refresh_facts, require_root
from proxmox_graph_mail.errors import DataError, SettingsError, UsageError
from proxmox_graph_mail.proxmox import facts
from proxmox_graph_mail.proxmox.notifications import Notifications, Target, product
from proxmox_graph_mail.settings import load

app = typer.Typer(
    help="Proxmox's notification targets: which send through this host, add one, test one.", no_args_is_help=True, cls=Group
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{1,31}")
DEFAULT_NAME = "microsoft365"


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show Proxmox's targets and matchers: which reach us, and which address each sends from and to.

    Example: proxmox-graph-mail target show
    """
    require_root("Proxmox's notification settings")
    system = Notifications(product())
    refresh_facts()
    targets, matchers = system.targets(), system.matchers()
    led = {target.name: [matcher.name for matcher in matchers if target.name in matcher.targets and not matcher.disabled]
           for target in targets}  # fmt: skip
    rows = [_row(target, led[target.name]) for target in targets]
    if as_json:
        print(json.dumps({"targets": rows, "matchers": [_matcher(matcher) for matcher in matchers]}, indent=1))
        return
    table = Table("TARGET", "TYPE", "VIA M365", "FROM", "TO", "MATCHERS", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        through = "disabled" if row["disabled"] else "yes" if row["reaches_us"] else "no"
        table.add_row(row["name"], row["type"], through, row["from"], " ".join(row["to"]), " ".join(row["matchers"]) or "none")
    Console().print(table)
    for row in rows:
        if row["reaches_us"] and not row["matchers"] and not row["disabled"]:
            print(f"{row['name']}: no matcher names it, so nothing is sent to it")


def _row(target: Target, matchers: list[str]) -> dict[str, Any]:
    known = facts.known()
    return {
        "name": target.name, "type": target.kind, "reaches_us": target.reaches_us(), "disabled": target.disabled,
        "from": _from(target, known.email_from), "to": [_address(one, known.admin) for one in target.to], "matchers": matchers,
        "comment": target.comment,
    }  # fmt: skip


def _from(target: Target, default: str) -> str:
    if not target.reaches_us():
        return target.sender
    try:
        sender = load().graph_sender
    except SettingsError:
        sender = "(settings incomplete)"
    asked = target.sender or default
    return sender if not asked or asked == sender else f"{sender} (asks for {asked})"


def _address(one: str, admin: str) -> str:
    return f"{one} ({admin or 'no address'})" if one == "root@pam" else one


def _matcher(matcher: Any) -> dict[str, Any]:
    return {"name": matcher.name, "targets": list(matcher.targets), "rules": matcher.rules, "disabled": matcher.disabled}


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="[NAME]", show_default=False)] = DEFAULT_NAME,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="ADDRESS", help="Who gets it; by default root@pam.")] = None,
    matcher: Annotated[bool, typer.Option("--matcher", help="Also add a matcher that sends everything to it.")] = False,
) -> None:
    """Add a sendmail target, and with --matcher a matcher, all-to-NAME, that sends everything to it.

    Example: proxmox-graph-mail target add --to alarms@example.com --matcher
    """
    _checked(name)
    require_root("Proxmox's notification settings")
    system = Notifications(product())
    addresses = [one for one in to or [] if "@" in one and not one.endswith(("@pam", "@pve", "@pbs"))]
    users = [one for one in to or ["root@pam"] if one not in addresses]
    system.add(name, to=addresses, users=users)
    print(f"target {name} added; try it: proxmox-graph-mail target test {name}")
    if matcher:
        system.add_matcher(_matcher_of(name), name)
        print(f"matcher {_matcher_of(name)} sends everything to it (the default matcher stays as it was)")


@app.command()
def test(name: Name) -> None:
    """Let Proxmox send its test notification to a target, and wait for what becomes of it here.

    Proxmox itself reports success whatever happens to the mail.

    Example: proxmox-graph-mail target test mail-to-root
    """
    _checked(name)
    require_root("Proxmox's notification settings")
    system = Notifications(product())
    target = next((one for one in system.targets() if one.name == name), None)
    if target is None:
        raise DataError(f"there is no target {name}; proxmox-graph-mail target show lists them")
    if not target.reaches_us():
        raise UsageError(
            f"{name} is a target of type {target.kind}: its mail does not pass through this host; test it in Proxmox"
        )
    begun = time.time()
    leg = Leg()
    system.test(name)
    leg.passed("Proxmox ran the test")
    raise typer.Exit(follow(since=begun, leg=leg, matching=lambda row: is_test(row, target)))


def is_test(row: dict[str, Any], target: Target) -> bool:
    """Is this the outcome of a target's test notification? It is of root, or of the backup server's user (nobody else's mail can
    pass for it), goes to the target's addresses, and says so in its subject."""
    there = {str(one).lower() for one in row["to"]}
    wanted = {one.lower() for one in target.addresses if "@" in one}
    return row["uid"] in _senders() and wanted <= there and "test" in str(row.get("subject", "")).lower()


def _senders() -> set[int]:
    """The users as whom Proxmox runs sendmail."""
    uids = {0}
    with contextlib.suppress(KeyError):
        uids.add(pwd.getpwnam("backup").pw_uid)
    return uids


@app.command()
def remove(name: Name) -> None:
    """Remove a sendmail target, and the matcher that `add --matcher` made for it.

    Example: proxmox-graph-mail target remove microsoft365
    """
    _checked(name)
    require_root("Proxmox's notification settings")
    system = Notifications(product())
    if any(matcher.name == _matcher_of(name) and matcher.targets == (name,) for matcher in system.matchers()):
        system.remove_matcher(_matcher_of(name))
        print(f"matcher {_matcher_of(name)} removed")
    others = [matcher.name for matcher in system.matchers() if name in matcher.targets]
    if others:
        raise DataError(f"the matcher {others[0]} uses {name}; change that matcher first, or its notifications are lost")
    system.remove(name)
    print(f"target {name} removed")


def _matcher_of(name: str) -> str:
    """A matcher of its own name: Proxmox lets no two sections have the same."""
    return f"all-to-{name}"[:32]


def _checked(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError("a target's name has 2 to 32 letters, digits, '.', '_' or '-', and begins with a letter, digit or '_'")
