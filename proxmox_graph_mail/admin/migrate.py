"""`migrate`: what on this host sends through Microsoft's SMTP, or by another mail system, and the way over to Graph.

What is found is only read. `--apply` moves Proxmox's smtp targets, by Proxmox's own commands:

    a sendmail target of the same recipients is made, and tested until Graph has the mail
    the matchers that lead to the smtp target lead to the new one
    the smtp target is disabled, with its password where it was

HOST/migration.json, root's, has each step before it is done; `--undo` goes back by it.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from proxmox_graph_mail import files, paths
from proxmox_graph_mail.admin.follow import Leg, follow
from proxmox_graph_mail.admin.privileges import refresh_facts, require_root
from proxmox_graph_mail.admin.screen import put
from proxmox_graph_mail.admin.target import is_test
from proxmox_graph_mail.errors import EX_OK, CommandError, DataError, FileError, UsageError
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.migration import callers, relays
from proxmox_graph_mail.migration.finding import Fate, Found
from proxmox_graph_mail.proxmox import facts, system
from proxmox_graph_mail.proxmox.microsoft import leads_to_microsoft, submits
from proxmox_graph_mail.proxmox.notifications import Notifications, Target, product
from proxmox_graph_mail.settings import load_visible

HEADS = {
    Fate.STOPS: "Stops when Microsoft turns basic SMTP AUTH off (by default at the end of December 2026):",
    Fate.LEFTOVER: "Left over from a mail system that is gone:",
    Fate.UNKNOWN: "Look yourself:",
    Fate.WORKS: "Goes on working, once /usr/sbin/sendmail is this program's:",
}


def migrate(
    apply: Annotated[bool, typer.Option("--apply", help="Move Proxmox's smtp targets; each is tested first.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what --apply did.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what sends mail through Microsoft's SMTP or another mail system, what that means, and what moves it to Graph.

    Example: proxmox-graph-mail migrate
    """
    require_root("what sends mail on this host")
    if apply and undo:
        raise UsageError("--apply and --undo exclude each other")
    refresh_facts()
    if undo:
        _undo()
    elif apply:
        raise typer.Exit(_apply())
    elif as_json:
        print(json.dumps([asdict(one) for one in found()], indent=1))
    else:
        _show(list(found()))


def found() -> Iterator[Found]:
    """Everything, Proxmox's targets first."""
    for target in _targets():
        by = f"{target.server} as {target.user}" if target.user else target.server
        what = f"sends to {', '.join(target.to)} by {by}"
        if submits(target.server):
            means = "Microsoft then refuses the password (550 5.7.30), and Proxmox tries no second time"
        else:
            means = "it reaches the tenant's own mailboxes alone, while the tenant permits it, and Proxmox tries no second time"
        fate = Fate.STOPS if submits(target.server) else Fate.WORKS
        yield Found(fate, f"Proxmox target {target.name}", what, means, "proxmox-graph-mail migrate --apply", target.name)
    yield from relays.found()
    yield from callers.found()


def anything_stops() -> bool:
    """Does something sign in to Microsoft's SMTP? By what was read of Proxmox, without its commands."""
    everything = (*relays.found(), *callers.found())
    return bool(facts.known().microsoft_targets) or any(one.fate is Fate.STOPS for one in everything)


def _targets() -> list[Target]:
    """The enabled smtp targets that lead to Microsoft; none where this is no Proxmox host."""
    try:
        system_ = Notifications(product())
    except CommandError:
        return []
    return [one for one in system_.targets() if one.kind == "smtp" and leads_to_microsoft(one.server) and not one.disabled]


def _show(everything: list[Found]) -> None:
    for fate, head in HEADS.items():
        ours = [one for one in everything if one.fate is fate]
        if ours:
            put(head)
        for one in ours:
            put(f"{one.where}: {one.what}", begin="  ", hang=4)
            put(one.means, begin="    ")
            if one.command:
                put(one.command, begin="    → ", hang=6)
    if not any(one.fate is Fate.STOPS for one in everything):
        what = "Proxmox's targets, " if facts.known().products else ""
        put(f"Found nothing that signs in to Microsoft's SMTP ({what}Postfix, msmtp, ssmtp, nullmailer, dma, exim).")
    if _record()["moved"]:
        put(f"Moved already: {', '.join(one['target'] for one in _record()['moved'])} (migrate --undo takes it back)")


def _apply() -> int:
    load_visible()  # first the settings: a target that leads to a host without them would send nothing
    targets = _targets()
    if not targets:
        put("Proxmox has no smtp target that leads to Microsoft, so there is nothing to move.")
        return EX_OK
    _every_node_has_it()
    notifications = Notifications(product())
    for target in targets:
        if status := _move(notifications, target):
            return status
    put("As long as the old targets are there, disabled, migrate --undo goes back. Delete them in Proxmox when you are content.")
    return EX_OK


def _move(notifications: Notifications, target: Target) -> int:
    """One target; the exit status. What is not proven leads nobody to it."""
    new = _free_name(notifications, target)
    matchers = {one.name: list(one.targets) for one in notifications.matchers() if target.name in one.targets}
    notifications.add(new, to=target.addresses, users=target.users)
    put(f"{target.name}: made the sendmail target {new}; now its test")
    begun, leg = time.time(), Leg()
    try:
        notifications.test(new)
        leg.passed("Proxmox ran the test")
        status = follow(since=begun, leg=leg, matching=lambda row: is_test(row, target))
    except BaseException:  # Ctrl-C's too: what was not proven does not stay
        notifications.remove(new)
        raise
    if status:
        notifications.remove(new)
        put(f"The test mail did not arrive, so {target.name} stays as it was, and {new} is removed.")
        return status
    record = _record()
    record["moved"].append({"target": target.name, "new": new, "matchers": matchers})
    _write(record)
    for name, old in matchers.items():
        notifications.lead(name, list(dict.fromkeys(new if one == target.name else one for one in old)))
        put(f"{target.name}: the matcher {name} leads to {new}")
    notifications.disable_smtp(target.name, disabled=True)
    put(f"{target.name}: disabled")
    return EX_OK


def _free_name(notifications: Notifications, target: Target) -> str:
    """A name for a new target that nothing has: what is there already is somebody else's, whatever it is called."""
    taken = {one.name for one in notifications.targets()} | {one.name for one in notifications.matchers()}
    names = (f"{target.name[:26]}-graph", *(f"{target.name[:24]}-graph{number}" for number in range(2, 100)))
    return next(name for name in names if name not in taken)


def _undo() -> None:
    record = _record()
    if not record["moved"]:
        raise DataError("nothing was moved by migrate --apply on this host; there is nothing to undo")
    notifications = Notifications(product())
    while record["moved"]:
        one = record["moved"][-1]
        there = {target.name for target in notifications.targets()}
        if one["target"] in there:
            _take_back(notifications, one["target"], one["new"], one["matchers"], there)
        else:
            put(f"{one['target']} was deleted in Proxmox, so {one['new']} stays in its place.")
        record["moved"].pop()
        _write(record)


def _take_back(notifications: Notifications, target: str, new: str, matchers: dict[str, list[str]], there: set[str]) -> None:
    """The old target in the new one's place, wherever a matcher leads to that; what was changed since stays."""
    notifications.disable_smtp(target, disabled=False)
    for matcher in notifications.matchers():
        if matcher.name in matchers and new in matcher.targets:
            back = list(dict.fromkeys(target if one == new else one for one in matcher.targets))
            notifications.lead(matcher.name, back)
            put(f"the matcher {matcher.name} leads to {', '.join(back)} again")
    uses = [matcher.name for matcher in notifications.matchers() if new in matcher.targets]
    if not uses and new in there:
        notifications.remove(new)
    put(f"{target} is enabled again; {new} {f'stays, for {uses[0]} uses it' if uses else 'is removed'}")


def _every_node_has_it() -> None:
    """Targets are the whole cluster's: on a node without this package, or without its settings, their mail would stay."""
    addresses = system.members()
    here = this_host().name
    check = ["proxmox-graph-mail", "check", "--offline"]
    without = [
        node for node in facts.known().nodes
        if node.lower() != here and system.on_node(node, addresses.get(node, ""), check)[0]
    ]  # fmt: skip
    if without:
        raise CommandError(
            f"targets are the whole cluster's, and proxmox-graph-mail check --offline fails on {', '.join(without)}; install it "
            "and set it up there first"
        )


def _path() -> str:
    return f"{paths.host()}/migration.json"


def _record() -> dict[str, Any]:
    known = files.read_json(_path())
    return known if isinstance(known.get("moved"), list) else {"moved": []}


def _write(record: dict[str, Any]) -> None:
    try:
        files.replace(_path(), json.dumps(record, indent=1).encode())
    except OSError as error:
        raise FileError(f"cannot write {error.filename}: {error.strerror}; without it nothing could be undone") from error
