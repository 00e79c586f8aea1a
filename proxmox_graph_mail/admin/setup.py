"""`setup`: from nothing to a test mail at Graph; asked, or by options, environment and file. Safe to run again."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from proxmox_graph_mail import settings
from proxmox_graph_mail.admin import settings_file
from proxmox_graph_mail.admin.test import send_test
from proxmox_graph_mail.admin.wiring import credential, directory, refresh_facts, require_root
from proxmox_graph_mail.errors import EX_CONFIG, SettingsError, UsageError
from proxmox_graph_mail.graph import certificate, probe
from proxmox_graph_mail.graph.credential import CredentialError
from proxmox_graph_mail.graph.http import client as http_client
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.proxmox import facts
from proxmox_graph_mail.settings.files import CLUSTER_FILE, HOST_FILE

CERTIFICATE = Path("/etc/proxmox-graph-mail.pem")


def setup(
    tenant: Annotated[str, typer.Option("--tenant", metavar="GUID", help="Directory (tenant) ID.")] = "",
    client: Annotated[str, typer.Option("--client", metavar="GUID", help="Application (client) ID.")] = "",
    sender: Annotated[str, typer.Option("--sender", metavar="ADDRESS", help="The mailbox to send as.")] = "",
    mail_to: Annotated[str, typer.Option("--mail-to", metavar="ADDRESS", help="Who gets mail for root and local users.")] = "",
    expires: Annotated[str, typer.Option("--expires", metavar="DATE", help="When the secret ends, YYYY-MM-DD.")] = "",
    application: Annotated[str, typer.Option("--application", metavar="GUID", help="Object ID of the app registration.")] = "",
    secret_file: Annotated[
        Path | None, typer.Option("--secret-file", help="File with the secret's Value; - is standard input.")
    ] = None,
    values_file: Annotated[Path | None, typer.Option("--from", metavar="FILE", help="File of KEY=value lines.")] = None,
    make_certificate: Annotated[bool, typer.Option("--certificate", help="Make a certificate instead of a secret.")] = False,
    cluster: Annotated[bool, typer.Option("--cluster", help="Write the cluster's settings, for every node.")] = False,
    no_test: Annotated[bool, typer.Option("--no-test", help="Write the settings, and send nothing.")] = False,
) -> None:
    """Ask for the four values, get a token, write the settings, and send a test mail. Safe to run again.

    What is not given by options, --from or the environment (GRAPH_CLIENT_SECRET …) is asked for, on a terminal. The secret is
    never taken from the command line. Example: proxmox-graph-mail setup --certificate
    """
    require_root("the settings")
    refresh_facts()
    path = _target(cluster)
    values = _known(path) | {
        key: value
        for key, value in (
            ("GRAPH_TENANT_ID", tenant), ("GRAPH_CLIENT_ID", client), ("GRAPH_SENDER", sender), ("MAIL_TO", mail_to),
            ("CREDENTIAL_EXPIRES", expires), ("GRAPH_APPLICATION_ID", application), ("GRAPH_CLIENT_SECRET", _secret(secret_file)),
        )
        if value
    } | (settings.values_of(values_file) if values_file else {})  # fmt: skip
    _ask(values, "GRAPH_TENANT_ID", "Directory (tenant) ID")
    _ask(values, "GRAPH_CLIENT_ID", "Application (client) ID")
    if not make_certificate and not cluster and _asks_for_a_certificate(values):
        make_certificate = True
    if make_certificate:
        _certificate(values, cluster)
    elif not values.get("GRAPH_CLIENT_CERTIFICATE") and values.get("GRAPH_CREDENTIAL") in (None, "", "secret"):
        _ask(values, "GRAPH_CLIENT_SECRET", "Client secret (its Value; not shown)", hidden=True)
        _ask(values, "CREDENTIAL_EXPIRES", "When it ends, YYYY-MM-DD (empty: unknown)", optional=True)
    _ask(values, "GRAPH_SENDER", "Mailbox to send as")
    if not values.get("MAIL_TO"):
        known = facts.known()
        default = known.admin or ""
        hint = f" (empty: root@pam's, {default})" if default else " (empty: where /etc/aliases says)"
        _ask(values, "MAIL_TO", f"Who gets mail for root{hint}", optional=True)
    found = settings.check(values)
    _token(found)
    settings_file.write(path, values)
    if path == CLUSTER_FILE:
        refresh_facts()
    print(f"ok: {path} is written")
    if no_test:
        return
    recipients = directory(found).administrators()[0]
    print(f"A test mail to {', '.join(recipients)}:")
    status = send_test(recipients, found.graph_sender)
    if status:
        print("proxmox-graph-mail check says more; the settings are kept, and setup can be run again.")
    raise typer.Exit(status)


def _target(cluster: bool) -> Path:
    """The file to write."""
    if not cluster:
        return Path(os.environ.get("PROXMOX_GRAPH_MAIL_CONFIG") or HOST_FILE)
    if not Path("/etc/pve/priv").is_dir():
        raise UsageError("this is no node of a Proxmox cluster: there is no /etc/pve/priv")
    return CLUSTER_FILE


def _known(path: Path) -> dict[str, str]:
    """What the file and the environment say already."""
    names = [name.upper() for name in settings.Settings.model_fields]
    return settings.values_of(path) | {name: os.environ[name] for name in names if os.environ.get(name)}


def _secret(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return (sys.stdin.readline() if str(path) == "-" else path.read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'no text'}") from error


def _ask(values: dict[str, str], key: str, prompt: str, *, hidden: bool = False, optional: bool = False) -> None:
    """Ask until the answer holds; keep what is there already and right."""
    if values.get(key):
        problem = settings.fault(key, values[key])
        if not problem:
            return
        if not sys.stdin.isatty():
            raise SettingsError(f"{key}: {problem}")
        print(f"{key}: {problem}")
        values.pop(key)
    if not sys.stdin.isatty():
        if optional:
            return
        raise UsageError(f"{key} is missing, and there is no terminal to ask on: give it by option, --from or the environment")
    while True:
        answer = str(typer.prompt(prompt, default="" if optional else None, hide_input=hidden, show_default=False)).strip()
        if not answer and optional:
            return
        if not (problem := settings.fault(key, answer)):
            values[key] = answer
            return
        print(f"  {printable(problem)}")


def _asks_for_a_certificate(values: dict[str, str]) -> bool:
    """Where there is no credential yet, and a terminal: a secret, or a certificate that is made here?"""
    known = values.get("GRAPH_CLIENT_SECRET") or values.get("GRAPH_CLIENT_CERTIFICATE") or values.get("GRAPH_CREDENTIAL")
    if known or not sys.stdin.isatty():
        return False
    question = "Make a certificate on this host, whose key never leaves it, instead of a client secret?"
    return typer.confirm(question, default=False)


def _certificate(values: dict[str, str], cluster: bool) -> None:
    """A new key and certificate, unless there is one; then wait until it is uploaded."""
    if cluster:
        text = "make it on one host, copy its .pem to every node, and set GRAPH_CLIENT_CERTIFICATE in the cluster's settings"
        raise UsageError(f"a certificate for the whole cluster: {text}")
    path = Path(values.get("GRAPH_CLIENT_CERTIFICATE") or CERTIFICATE)
    public = path.with_suffix(".crt")
    if public == path:
        raise UsageError(f"GRAPH_CLIENT_CERTIFICATE {path} is key and certificate: let its name end with .pem")
    if not path.exists():
        made = certificate.make(this_host().name)
        settings_file.replace(path, made.pem.decode())
        public.write_bytes(made.public)
        print(f"A key and a certificate are made; the key stays in {path}.")
        print(
            f"Upload {public} (thumbprint {made.thumbprint}) in the app registration under Certificates & secrets, Certificates."
        )
    values["GRAPH_CLIENT_CERTIFICATE"] = str(path)
    values["GRAPH_CLIENT_SECRET"] = values["CREDENTIAL_EXPIRES"] = ""  # they go from the file: a certificate knows its own end
    _ask(
        values, "GRAPH_APPLICATION_ID", "Object ID of the app registration, for renewal by itself (empty: by hand)", optional=True
    )
    if sys.stdin.isatty():
        typer.prompt("Press Enter when it is uploaded", default="", show_default=False)


def _token(found: settings.Settings) -> None:
    """Get a token with these values, before anything is written."""
    who = credential(found)
    with http_client(found.graph_ca_file, found.https_proxy.get_secret_value(), found.no_proxy) as client:
        try:
            token = who.acquire(client, time.time())
        except CredentialError as error:
            print(f"no token: {printable(error.outcome.reason)}", file=sys.stderr)
            print("Nothing is written; correct the value and run setup again (another secret: --secret-file).", file=sys.stderr)
            raise typer.Exit(EX_CONFIG) from None
    roles = probe.claims(token.value).get("roles", [])
    note = "" if "Mail.Send" in roles else " (without Mail.Send: right with RBAC for Applications, else grant it)"
    print(f"ok: Entra gives a token{note}")
