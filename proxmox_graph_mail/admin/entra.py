"""`entra`: scripts, with this host's values, that make the app and restrict it to its mailbox; to be run by a tenant's admin.

They are files of their own (scripts/), which their own linters read; `@word@` in them stands for a value.
"""

import base64
import gzip
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proxmox_graph_mail import files
from proxmox_graph_mail.admin.connection import Connection
from proxmox_graph_mail.admin.screen import put
from proxmox_graph_mail.errors import MailError, SettingsError
from proxmox_graph_mail.graph.cloud import CLOUDS
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.settings import Settings, load


class Kind(StrEnum):
    """What to print."""

    CLI = "cli"
    POWERSHELL = "powershell"
    RBAC = "rbac"
    REVOKE = "revoke"


SCRIPTS = {Kind.CLI: "cli.sh", Kind.POWERSHELL: "powershell.ps1", Kind.RBAC: "rbac.ps1", Kind.REVOKE: "revoke.sh"}
AZURE = {"global": "AzureCloud", "usgov": "AzureUSGovernment", "dod": "AzureUSGovernment", "china": "AzureChinaCloud"}
"""GRAPH_CLOUD as `az cloud set` names it."""
ENVIRONMENT = {"global": "Global", "usgov": "USGov", "dod": "USGovDoD", "china": "China"}
"""GRAPH_CLOUD as Connect-MgGraph -Environment names it."""
EXCHANGE = {"global": "O365Default", "usgov": "O365USGovGCCHigh", "dod": "O365USGovDoD", "china": "O365China"}
"""GRAPH_CLOUD as Connect-ExchangeOnline -ExchangeEnvironmentName names it."""
UNKNOWN_CLIENT, UNKNOWN_SENDER = "YOUR-CLIENT-ID", "pve@example.com"
UNKNOWN_PRINCIPAL = "OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION"


def entra(
    kind: Annotated[Kind, typer.Argument(metavar="cli|powershell|rbac|revoke")] = Kind.CLI,
    name: Annotated[str, typer.Option("--name", help="The app's name in the tenant.")] = "",
    restricted: Annotated[
        bool, typer.Option("--restricted", help="cli, powershell: grant nothing; entra rbac grants the one mailbox.")
    ] = False,
) -> None:
    """Print a script for Microsoft Entra or Exchange, with this host's values.

    cli (Azure CLI, Cloud Shell) and powershell make the app registration, rbac restricts it to the mailbox, revoke takes the
    tenant-wide permission away again. Example: proxmox-graph-mail entra rbac
    """
    try:
        settings: Settings | None = load()
    except SettingsError:
        settings = None
    known = {} if settings is None else {
        "GRAPH_TENANT_ID": settings.graph_tenant_id, "GRAPH_CLIENT_ID": settings.graph_client_id,
        "GRAPH_SENDER": settings.graph_sender, "GRAPH_CLOUD": settings.graph_cloud,
        "GRAPH_CLIENT_CERTIFICATE": str(settings.graph_client_certificate or ""),
    }  # fmt: skip
    if settings is None and kind in (Kind.RBAC, Kind.REVOKE):
        raise SettingsError(f"entra {kind.value} needs to know the app and the mailbox; run proxmox-graph-mail setup first")
    principal = _principal(settings) if kind is Kind.RBAC else ""
    print(script(kind, known, name=name, restricted=restricted, principal=principal), end="")


def script(
    kind: Kind, known: Mapping[str, str], *, name: str = "", restricted: bool = False, principal: str = ""
) -> str:  # fmt: skip
    """The script, with the values of these keys (upper case)."""
    where = known.get("GRAPH_CLOUD") or "global"
    making = kind in (Kind.CLI, Kind.POWERSHELL)
    sender = known.get("GRAPH_SENDER") or ("" if making else UNKNOWN_SENDER)
    values = {
        "tenant": known.get("GRAPH_TENANT_ID", ""), "client": known.get("GRAPH_CLIENT_ID") or UNKNOWN_CLIENT,
        "sender": sender, "domain": sender.rpartition("@")[2], "name": name or f"proxmox-graph-mail {this_host().name}",
        "azure": AZURE[where], "environment": ENVIRONMENT[where], "exchange": EXCHANGE[where], "graph": CLOUDS[where].endpoint,
        "principal": principal or UNKNOWN_PRINCIPAL, "grant": "no" if restricted else "yes",
    }  # fmt: skip
    text = (Path(__file__).parent / "scripts" / SCRIPTS[kind]).read_text("utf-8")
    for word, value in values.items():
        text = text.replace(f"@{word}@", _quotable(value)[:80])
    return text.replace("@certificate@", _certificate(known.get("GRAPH_CLIENT_CERTIFICATE", "")))


def cloud_shell_line(known: Mapping[str, str]) -> str:
    """The script for Azure CLI, packed into one line for Cloud Shell."""
    packed = base64.b64encode(gzip.compress(script(Kind.CLI, known).encode(), mtime=0)).decode()
    return f"bash <(echo {packed} | base64 -d | gunzip)"


def _principal(settings: Settings | None) -> str:
    """The service principal's Object ID, which Exchange wants: the host's token has it, so nobody need look it up."""
    reason = "there are no complete settings yet"
    if settings is not None:
        try:
            with Connection(settings, None) as connection:
                if found := str(connection.tokens.get().claims().get("oid", "")):
                    return found
            reason = "the token does not say"
        except MailError as error:
            reason = str(error)
    put(
        f"proxmox-graph-mail: the enterprise application's Object ID is not known ({reason}); put it into the script (Entra "
        "admin centre, Enterprise applications, the app, Overview)",
        stream=sys.stderr,
    )
    return ""


def _certificate(path: str) -> str:
    """The certificate that this host made, without its key: base64 of its DER, on one line; empty if there is none."""
    if not path:
        return ""
    from proxmox_graph_mail.graph import certificate  # expensive to import, and only a certificate needs it

    try:
        return base64.b64encode(certificate.read(files.read_named(path)).der).decode()
    except (OSError, ValueError):
        return ""


def _quotable(value: str) -> str:
    """For single quotes in both shells."""
    return "".join(letter for letter in value if letter.isprintable() and letter not in "'‘’`$\\")
