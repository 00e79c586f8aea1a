"""`setup`: from nothing to a test mail at Graph; asked, or by options, environment and file. Safe to run again."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxmox_graph_mail import paths, settings
from proxmox_graph_mail.admin import settings_file
from proxmox_graph_mail.admin.ask import Answers, secret_from
from proxmox_graph_mail.admin.connection import Connection, address_book
from proxmox_graph_mail.admin.privileges import refresh_facts, require_root
from proxmox_graph_mail.admin.test import send_test
from proxmox_graph_mail.errors import EX_CONFIG, CredentialError, FileError, UsageError
from proxmox_graph_mail.graph import certificate
from proxmox_graph_mail.graph.application import check_object_id
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.proxmox import facts


def setup(
    tenant: Annotated[str, typer.Option("--tenant", metavar="GUID", help="Directory (tenant) ID.")] = "",
    client: Annotated[str, typer.Option("--client", metavar="GUID", help="Application (client) ID.")] = "",
    sender: Annotated[str, typer.Option("--sender", metavar="ADDRESS", help="The mailbox to send as.")] = "",
    mail_to: Annotated[str, typer.Option("--mail-to", metavar="ADDRESS", help="Who gets mail for root and local users.")] = "",
    expires: Annotated[str, typer.Option("--expires", metavar="DATE", help="When the secret ends, YYYY-MM-DD.")] = "",
    object_id: Annotated[str, typer.Option("--object-id", metavar="GUID", help="Object ID of the app registration.")] = "",
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
    given = {
        "GRAPH_TENANT_ID": tenant, "GRAPH_CLIENT_ID": client, "GRAPH_SENDER": sender, "MAIL_TO": mail_to,
        "CREDENTIAL_EXPIRES": expires, "GRAPH_OBJECT_ID": object_id,
        "GRAPH_CLIENT_SECRET": "" if secret_file is None else secret_from(secret_file),
    }  # fmt: skip
    path = _target(cluster)
    known = _known(path) | {key: value for key, value in given.items() if value} | _from_file(values_file)
    answers = _ask_for_all(Answers(known), make_certificate=make_certificate, cluster=cluster)
    _write(path, answers.values, settings.check(answers.values))
    if not no_test:
        raise typer.Exit(_test(answers.values))


def _ask_for_all(answers: Answers, *, make_certificate: bool, cluster: bool) -> Answers:
    """Every value that is needed, from what is known or from the admin."""
    answers.ask("GRAPH_TENANT_ID", "Directory (tenant) ID")
    answers.ask("GRAPH_CLIENT_ID", "Application (client) ID")
    values = answers.values
    if make_certificate or (not cluster and _asks_for_a_certificate(values)):
        _certificate(answers, cluster)
    elif not values.get("GRAPH_CLIENT_CERTIFICATE") and values.get("GRAPH_CREDENTIAL") in (None, "", "secret"):
        answers.ask("GRAPH_CLIENT_SECRET", "Client secret (its Value; not shown)", hidden=True)
        answers.ask("CREDENTIAL_EXPIRES", "When it ends, YYYY-MM-DD (empty: unknown)", optional=True)
    answers.ask("GRAPH_SENDER", "Mailbox to send as")
    if not values.get("MAIL_TO"):
        default = facts.known().admin
        hint = f" (empty: root@pam's, {default})" if default else " (empty: as in /etc/aliases)"
        answers.ask("MAIL_TO", f"Who gets mail for root{hint}", optional=True)
    return answers


def _write(path: Path, values: dict[str, str], checked: settings.Settings) -> None:
    """Get a token with these values, and only then write them."""
    with Connection(checked, None) as connection:
        try:
            token = connection.tokens.get()
        except CredentialError as error:
            print(f"Entra gives no token: {printable(str(error))}", file=sys.stderr)
            print(
                "Nothing was written. Correct the value and run setup again (for another secret: --secret-file).", file=sys.stderr
            )
            raise typer.Exit(EX_CONFIG) from None
    check_object_id(checked.graph_object_id, token)
    note = "" if "Mail.Send" in token.roles else " (no Mail.Send: fine with RBAC for Applications, otherwise grant it)"
    print(f"ok: Entra gives a token{note}")
    settings_file.write(path, values)
    if str(path) == paths.CLUSTER_SETTINGS:
        refresh_facts()
    print(f"ok: wrote {path}")


def _test(values: dict[str, str]) -> int:
    checked = settings.check(values)
    recipients = address_book(checked).administrators()[0]
    print(f"A test mail to {', '.join(recipients)}:")
    status = send_test(recipients, checked.graph_sender)
    if status:
        print("proxmox-graph-mail check says more; the settings are kept, and setup can be run again.")
    return status


def _target(cluster: bool) -> Path:
    """The file to write."""
    if not cluster:
        return Path(paths.settings_files()[0])
    if not Path(paths.CLUSTER_SETTINGS).parent.is_dir():
        raise UsageError("this is not a node of a Proxmox cluster: there is no /etc/pve/priv")
    return Path(paths.CLUSTER_SETTINGS)


def _known(path: Path) -> dict[str, str]:
    """What the file and the environment say already."""
    names = [name.upper() for name in settings.KEYS]
    return settings.values_of(path) | {name: os.environ[name] for name in names if os.environ.get(name)}


def _from_file(path: Path | None) -> dict[str, str]:
    """The keys of --from."""
    if path is not None and not path.is_file():
        raise FileError(f"cannot read {printable(str(path))}: no such file")
    return settings.values_of(path) if path is not None else {}


def _asks_for_a_certificate(values: dict[str, str]) -> bool:
    """Where there is no credential yet, and a terminal: a secret, or a certificate that is made here?"""
    known = values.get("GRAPH_CLIENT_SECRET") or values.get("GRAPH_CLIENT_CERTIFICATE") or values.get("GRAPH_CREDENTIAL")
    if known or not sys.stdin.isatty():
        return False
    question = "Make a certificate on this host, whose key never leaves it, instead of a client secret?"
    return typer.confirm(question, default=False)


def _certificate(answers: Answers, cluster: bool) -> None:
    """A new key and certificate, unless there is one; then wait until it is uploaded."""
    if cluster:
        text = "make it on one host, copy its .pem to every node, and set GRAPH_CLIENT_CERTIFICATE in the cluster's settings"
        raise UsageError(f"a certificate for the whole cluster: {text}")
    values = answers.values
    path = Path(values.get("GRAPH_CLIENT_CERTIFICATE") or paths.CERTIFICATE)
    public = path.with_suffix(".crt")
    if public == path:
        raise UsageError(f"GRAPH_CLIENT_CERTIFICATE {path} holds key and certificate: its name must end in .pem")
    if not path.exists():
        made = certificate.make(this_host().name)
        settings_file.replace(path, made.pem.decode())
        public.write_bytes(made.public)
        print(f"Made a key and a certificate. The key stays in {path}.")
        print(
            f"Upload {public} (thumbprint {made.thumbprint}) in the app registration under Certificates & secrets, Certificates."
        )
    values["GRAPH_CLIENT_CERTIFICATE"] = str(path)
    values["GRAPH_CLIENT_SECRET"] = values["CREDENTIAL_EXPIRES"] = ""  # they go from the file: a certificate knows its own end
    answers.ask(
        "GRAPH_OBJECT_ID", "Object ID of the app registration, for automatic renewal (empty: by hand)", optional=True
    )  # fmt: skip
    if sys.stdin.isatty():
        typer.prompt("Press Enter when it is uploaded", default="", show_default=False)
