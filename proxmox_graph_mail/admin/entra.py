"""`entra`: scripts, with this host's values, that make the app and restrict it to its mailbox; to be run by a tenant's admin.

They are files of their own (scripts/), which their own linters read; `@word@` in them stands for a value.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.settings import load


class Kind(StrEnum):
    """What to print."""

    CLI = "cli"
    POWERSHELL = "powershell"
    RBAC = "rbac"


SCRIPTS = {Kind.CLI: "cli.sh", Kind.POWERSHELL: "powershell.ps1", Kind.RBAC: "rbac.ps1"}


def entra(
    kind: Annotated[Kind, typer.Argument(metavar="cli|powershell|rbac")] = Kind.CLI,
    name: Annotated[str, typer.Option("--name", help="The app's name in the tenant.")] = "",
) -> None:
    """Print a ready-to-run script: the app registration by Azure CLI or PowerShell, or its restriction to the mailbox (rbac).

    Example: proxmox-graph-mail entra rbac
    """
    print(script(kind, name), end="")


def script(kind: Kind, name: str = "") -> str:
    """The script, with this host's values where they are known."""
    try:
        settings = load()
        tenant, client, sender = settings.graph_tenant_id, settings.graph_client_id, settings.graph_sender
    except SettingsError:
        tenant, client, sender = "YOUR-TENANT.onmicrosoft.com", "YOUR-CLIENT-ID", "pve@example.com"
    values = {
        "tenant": tenant, "client": client, "sender": sender, "domain": sender.rpartition("@")[2],
        "name": name or f"proxmox-graph-mail {this_host().name}",
    }  # fmt: skip
    text = (Path(__file__).parent / "scripts" / SCRIPTS[kind]).read_text("utf-8")
    for word, value in values.items():
        text = text.replace(f"@{word}@", _quotable(value))
    return text


def _quotable(value: str) -> str:
    """For single quotes in both shells."""
    return "".join(letter for letter in value if letter.isprintable() and letter not in "'‘’`$\\")[:80]
