"""`check`: one line a finding: ok, warn or fail, with the reason and what to do."""

import contextlib
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from proxmox_graph_mail.admin.finding import FAIL, OK, WARN, Finding
from proxmox_graph_mail.admin.findings import all_findings
from proxmox_graph_mail.admin.privileges import become_service_user, refresh_facts
from proxmox_graph_mail.admin.screen import folded
from proxmox_graph_mail.errors import SpoolError, UsageError
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.message.recipients import is_address
from proxmox_graph_mail.spool.store import Spool

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}


def check(
    offline: Annotated[bool, typer.Option("--offline", help="Skip what needs the network.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    not_as: Annotated[
        str, typer.Option("--not-as", metavar="ADDRESS", help="Also see that the app may not send as ADDRESS; nothing is sent.")
    ] = "",
    cluster: Annotated[bool, typer.Option("--cluster", help="Check every node of the cluster, by ssh.")] = False,
) -> None:
    """Check settings, credential, network, Graph, queue and host; one line each. Exit 1 if something fails.

    Example: proxmox-graph-mail check --offline
    """
    if not_as and not is_address(not_as):
        raise UsageError(f"{printable(not_as)} is not a mail address")
    if cluster:
        from proxmox_graph_mail.admin.cluster import cluster_findings

        findings = cluster_findings()
    else:
        refresh_facts()
        # As whom the mail is sent: what root can read and it cannot is a finding, and root leaves no file among its own.
        with contextlib.suppress(SpoolError):  # that there is none is a finding
            become_service_user(Spool())
        findings = all_findings(offline=offline, not_as=not_as)
    console = Console(highlight=False, soft_wrap=True)
    listed: list[Finding] = []
    for finding in findings:
        listed.append(finding)
        if not as_json:
            text = f"{finding.text}{f': {finding.remedy}' if finding.remedy else ''}"
            line = Text(folded(printable(text), begin=f"{finding.state:<5} {finding.name:<13} "))
            line.stylize(_COLOURS[finding.state], 0, len(finding.state))
            console.print(line)
    if as_json:
        print(json.dumps([asdict(finding) for finding in listed], indent=1))
    raise typer.Exit(1 if any(finding.state == FAIL for finding in listed) else 0)
