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
from proxmox_graph_mail.settings import load

HEADS = {
    Fate.STOPS: "Stops when Microsoft turns basic SMTP AUTH off (by default at the end of December 2026):",
    Fate.LEFTOVER: "Left over from a mail system that is gone:",
    Fate.WORKS: "Goes on working:",
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
            means = "Microsoft refuses the password from then on (550 5.7.30), and Proxmox tries no second time"
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
        put("Nothing on this host signs in to Microsoft's SMTP.")
    if _record()["moved"]:
        put(f"Moved already: {', '.join(one['target'] for one in _record()['moved'])} (migrate --undo takes it back)")


def _apply() -> int:
    load()  # first the settings: a target that leads to a host without them would send nothing
    targets = _targets()
    if not targets:
        put("Proxmox has no smtp target that leads to Microsoft, so there is nothing to move.")
        return EX_OK
    _every_node_has_it()
    notifications = Notifications(product())
    for target in targets:
        if status := _move(notifications, target):
            return status
    put("Once Proxmox's own mail has arrived this way, delete the old targets in Proxmox; migrate --undo takes everything back.")
    return EX_OK


def _move(notifications: Notifications, target: Target) -> int:
    """One target; the exit status. What is not proven leads nobody to it."""
    new = f"{target.name[:26]}-graph"
    matchers = {one.name: list(one.targets) for one in notifications.matchers() if target.name in one.targets}
    if new not in (one.name for one in notifications.targets()):
        notifications.add(new, to=target.addresses, users=target.users)
    put(f"{target.name}: made the sendmail target {new}; now its test")
    begun, leg = time.time(), Leg()
    notifications.test(new)
    leg.passed("Proxmox ran the test")
    if status := follow(since=begun, leg=leg, matching=is_test):
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


def _undo() -> None:
    record = _record()
    if not record["moved"]:
        raise DataError("nothing was moved by migrate --apply on this host; there is nothing to undo")
    notifications = Notifications(product())
    while record["moved"]:
        one = record["moved"][-1]
        there = {target.name for target in notifications.targets()}
        if one["target"] not in there:
            raise DataError(f"the target {one['target']} is gone from Proxmox; make it again there, or delete {_path()}")
        notifications.disable_smtp(one["target"], disabled=False)
        present = {matcher.name: matcher.targets for matcher in notifications.matchers()}
        for name, old in one["matchers"].items():
            if one["new"] in present.get(name, ()):
                notifications.lead(name, old)
                put(f"the matcher {name} leads to {', '.join(old)} again")
        left = [matcher.name for matcher in notifications.matchers() if one["new"] in matcher.targets]
        if not left and one["new"] in there:
            notifications.remove(one["new"])
        put(f"{one['target']} is enabled again; {one['new']} {f'stays, for {left[0]} uses it' if left else 'is removed'}")
        record["moved"].pop()
        _write(record)


def _every_node_has_it() -> None:
    """Targets are the whole cluster's: on a node without this package its mail would stay with that node's mail system."""
    addresses = system.members()
    here = this_host().name
    without = [
        node for node in facts.known().nodes
        if node.lower() != here and system.on_node(node, addresses.get(node, ""), ["proxmox-graph-mail", "--version"])[0]
    ]  # fmt: skip
    if without:
        raise CommandError(
            f"targets are the whole cluster's, and proxmox-graph-mail does not answer on {', '.join(without)}; install it there"
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
