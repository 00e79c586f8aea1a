"""`setup`: from nothing to a test mail at Graph; asked, or by options, environment and file. Safe to run again.

the file's lines    what is wrong with one is shown, and corrected in place
values              options over --from over the environment over the file; on a terminal the rest is asked for
the trial           (trial.py) what Microsoft refuses is asked for again, and the rest is kept
the file            is written, whole, or left alone where it says all that already
a test mail         goes through the queue, as any other
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxmox_graph_mail import paths, settings
from proxmox_graph_mail.admin import settings_file
from proxmox_graph_mail.admin.ask import Answers, pasted, secret_from
from proxmox_graph_mail.admin.connection import address_book
from proxmox_graph_mail.admin.entra import cloud_shell_line
from proxmox_graph_mail.admin.migrate import anything_stops
from proxmox_graph_mail.admin.privileges import refresh_facts, require_root
from proxmox_graph_mail.admin.screen import put
from proxmox_graph_mail.admin.test import send_test
from proxmox_graph_mail.admin.trial import Refusal, Trial, try_out
from proxmox_graph_mail.errors import EX_CONFIG, FileError, SettingsError, UsageError
from proxmox_graph_mail.graph import certificate
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.log import printable

BEGIN = """\
setup asks for the tenant, the app, its secret or certificate, and the mailbox to send as. They come from an app registration in
Microsoft Entra. What is known already stands in brackets: Enter keeps it."""
NO_APP = """\
No app registration is known yet. This line makes one: run it in Azure Cloud Shell (https://shell.azure.com, Bash), or, without an
Azure subscription, wherever Azure CLI is, as a Global Administrator or Privileged Role Administrator. It is
`proxmox-graph-mail entra cli`, packed. It lets the app send as every mailbox of the tenant until `entra rbac`
restricts it; `entra cli --restricted` makes it without.

{line}

Paste the block that it prints here (it is not shown), then press Enter on an empty line. If you have an app registration, press
Enter now: its values are asked for one by one."""
END = """\
Look for it: in the inbox, and in the junk folder. If it is in neither, Graph took it and Exchange dropped it: see its message
trace."""
UNRESTRICTED = """\
This app may send as every mailbox of the tenant. To restrict it to {sender}: proxmox-graph-mail entra rbac"""
MIGRATE = "Something on this host still signs in to Microsoft's SMTP: proxmox-graph-mail migrate shows what, and moves it."
NOTHING_WRITTEN = "Nothing was written. Correct the value and run setup again (for another secret: --secret-file)."
ASKED = frozenset(
    (
        "GRAPH_TENANT_ID",
        "GRAPH_CLIENT_ID",
        "GRAPH_CLIENT_SECRET",
        "GRAPH_SENDER",
        "GRAPH_OBJECT_ID",
        "CREDENTIAL_EXPIRES",
        "MAIL_TO",
    )
)
"""What the admin is asked for; other keys are corrected in the file."""
CERTIFICATE_KEYS = ("GRAPH_CLIENT_CERTIFICATE", "GRAPH_OBJECT_ID")


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
    values_file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="File of KEY=value lines; - is stdin.")
    ] = None,
    make_certificate: Annotated[bool, typer.Option("--certificate", help="Make a certificate instead of a secret.")] = False,
    cluster: Annotated[bool, typer.Option("--cluster", help="Write the cluster's settings, for every node.")] = False,
    no_test: Annotated[bool, typer.Option("--no-test", help="Send nothing; write also while Microsoft is unreachable.")] = False,
) -> None:
    """Ask for the four values, try them at Microsoft, write the settings, and send a test mail. Safe to run again.

    What is not given by options, --from or the environment (GRAPH_CLIENT_SECRET …) is asked for, on a terminal. The secret is
    never taken from the command line. Example: proxmox-graph-mail setup --certificate
    """
    require_root("the settings")
    refresh_facts()
    options = {
        "GRAPH_TENANT_ID": tenant, "GRAPH_CLIENT_ID": client, "GRAPH_SENDER": sender, "MAIL_TO": mail_to,
        "CREDENTIAL_EXPIRES": expires, "GRAPH_OBJECT_ID": object_id,
        "GRAPH_CLIENT_SECRET": "" if secret_file is None else secret_from(secret_file),
    }  # fmt: skip
    path = _target(cluster)
    _correct(path)
    answers = _gathered(path, _from_file(values_file) | {key: value for key, value in options.items() if value})
    if sys.stdin.isatty():
        print(BEGIN)
    elif values_file is not None and not make_certificate and not settings_file.would_change(path, answers.values):
        settings.check(answers.values)
        print(f"ok: {path} is unchanged, so nothing was tried or sent; proxmox-graph-mail test sends a test mail")
        return
    trial = _ask_and_try(answers, make_certificate=make_certificate, cluster=cluster, no_test=no_test)
    raise typer.Exit(_write_and_test(path, answers.values, trial, no_test=no_test))


def _write_and_test(path: Path, values: dict[str, str], trial: Trial, *, no_test: bool) -> int:
    """The end: the file, a test mail, and what to look at; the exit status."""
    print(f"ok: {'wrote' if settings_file.write(path, values) else 'unchanged:'} {path}")
    refresh_facts()  # the cluster's settings may be new
    status = 0 if no_test else _test(values)
    if trial.unrestricted:
        print(UNRESTRICTED.format(sender=values["GRAPH_SENDER"]))
    if anything_stops():
        print(MIGRATE)
    return status


def _target(cluster: bool) -> Path:
    """The file to write. Raises UsageError where this host's own file would override what the cluster's says."""
    if not cluster:
        return Path(paths.settings_files()[0])
    if not Path(paths.CLUSTER_SETTINGS).parent.is_dir():
        raise UsageError("this is not a node of a Proxmox cluster: there is no /etc/pve/priv")
    own = paths.settings_files()[0]
    shadows = sorted(key for key in settings.values_of(Path(own)) if key.startswith(("GRAPH_", "CREDENTIAL_")))
    if shadows:
        raise UsageError(
            f"{own} on this node sets {', '.join(shadows)}, and that overrides the cluster's settings; take these lines out of "
            "it, then run setup --cluster again"
        )
    return Path(paths.CLUSTER_SETTINGS)


def _correct(path: Path) -> None:
    """Show each line of the file that is wrong, and correct it as the admin says. Raises SettingsError."""
    while problems := settings.problems_of(path):
        problem = problems[0]
        if not (problem.line and sys.stdin.isatty()):
            raise SettingsError(problem.text)
        print(printable(problem.text))
        if problem.near and typer.confirm(f"Write {problem.near} instead of {problem.key}?", default=True):
            settings_file.correct(path, problem.line, problem.key, problem.near)
        elif typer.confirm("Comment the line out?", default=True):
            settings_file.correct(path, problem.line, problem.key, "")
        else:
            raise SettingsError(problem.text)


def _gathered(path: Path, given: dict[str, str]) -> Answers:
    """What is known. A credential that is given takes the place of another kind's that was there."""
    names = [name.upper() for name in settings.KEYS]
    given = {name: os.environ[name] for name in names if os.environ.get(name)} | given
    known = settings.values_of(path)
    if given.get("GRAPH_CLIENT_SECRET") and not given.get("GRAPH_CLIENT_CERTIFICATE"):
        known |= dict.fromkeys((*CERTIFICATE_KEYS, "GRAPH_FEDERATED_TOKEN_FILE", "GRAPH_CREDENTIAL"), "")
        known["CREDENTIAL_EXPIRES"] = known.get("CREDENTIAL_EXPIRES", "") if _same_secret(known, given) else ""
    elif given.get("GRAPH_CLIENT_CERTIFICATE") and not given.get("GRAPH_CLIENT_SECRET"):
        known |= dict.fromkeys(("GRAPH_CLIENT_SECRET", "CREDENTIAL_EXPIRES", "GRAPH_CREDENTIAL"), "")
    return Answers(known | given, set(given))


def _same_secret(known: dict[str, str], given: dict[str, str]) -> bool:
    return known.get("GRAPH_CLIENT_SECRET") == given["GRAPH_CLIENT_SECRET"]


def _from_file(path: Path | None) -> dict[str, str]:
    """The keys of --from."""
    if str(path) == "-":
        return settings.values_from(sys.stdin.read(), "standard input")
    if path is not None and not path.is_file():
        raise FileError(f"cannot read {printable(str(path))}: no such file")
    return settings.values_of(path) if path is not None else {}


def _ask_and_try(answers: Answers, *, make_certificate: bool, cluster: bool, no_test: bool) -> Trial:
    """Ask for what is missing, and try it; what is refused is asked for again. Raises Exit where it cannot be."""
    make_certificate = make_certificate or (not cluster and _asks_for_a_certificate(answers.values))
    while True:
        trial = _asked_and_tried(answers, make_certificate=make_certificate, cluster=cluster)
        for sentence in trial.good:
            print(f"ok: {printable(sentence)}")
        refusal = trial.refusal
        if refusal is None:
            return trial
        put(refusal.sentence, stream=sys.stderr)
        if not sys.stdin.isatty():
            if refusal.temporary and (no_test or trial.good):
                print("warning: written all the same; proxmox-graph-mail check tries it again", file=sys.stderr)
                return trial
            print(NOTHING_WRITTEN, file=sys.stderr)
            raise typer.Exit(EX_CONFIG)
        if not _again(refusal, asked=answers.asked):
            return trial
        answers.reopen(refusal.keys)


def _asked_and_tried(answers: Answers, *, make_certificate: bool, cluster: bool) -> Trial:
    """Values that do not go together are a refusal too, on a terminal: what was typed is kept. Raises UsageError."""
    try:
        checked = _ask_for_all(answers, make_certificate=make_certificate, cluster=cluster)
        return try_out(checked)
    except SettingsError as error:
        if not sys.stdin.isatty():
            raise
        return Trial((), Refusal(str(error), tuple(key for key in answers.values if key in str(error))))


def _again(refusal: Refusal, *, asked: bool) -> bool:
    """Ask and try once more? False: write what there is. Where nothing was asked before it would be tried for ever."""
    if asked and not refusal.temporary and set(refusal.keys) & ASKED:
        print("Correct it; everything else is kept.")
        return True
    answer = typer.prompt("Enter tries again, w writes the settings as they are", default="", show_default=False)
    return str(answer).strip().lower() != "w"


def _test(values: dict[str, str]) -> int:
    """Send a test mail, and say where to look for it."""
    checked = settings.check(values)
    recipients = address_book(checked).administrators()[0]
    print(f"A test mail to {', '.join(recipients)}:")
    status = send_test(recipients, checked.graph_sender)
    if status:
        print("proxmox-graph-mail check says more; the settings are kept, and setup can be run again.")
    else:
        print(END)
    return status


def _ask_for_all(answers: Answers, *, make_certificate: bool, cluster: bool) -> settings.Settings:
    """Every value that is needed, from what is known or from the admin. Raises SettingsError, UsageError."""
    values = answers.values
    made = make_certificate and _certificate(answers, cluster)
    if not values.get("GRAPH_CLIENT_ID") and sys.stdin.isatty():
        print(NO_APP.format(line=cloud_shell_line(values)))
        block = pasted()
        made = made and not block  # who ran the line has uploaded the certificate by it
        answers.take(block)
    answers.ask("GRAPH_TENANT_ID", "Directory (tenant) ID")
    answers.ask("GRAPH_CLIENT_ID", "Application (client) ID")
    kind = values.get("GRAPH_CREDENTIAL") or ("certificate" if values.get("GRAPH_CLIENT_CERTIFICATE") else "secret")
    if kind == "certificate":
        answers.ask("GRAPH_OBJECT_ID", "Object ID of the app registration, for automatic renewal (empty: by hand)", optional=True)
        if made and sys.stdin.isatty():
            typer.prompt("Press Enter when the certificate is uploaded", default="", show_default=False)
    elif kind == "secret":
        answers.ask("GRAPH_CLIENT_SECRET", "Client secret (its Value; not shown)", hidden=True)
        answers.ask("CREDENTIAL_EXPIRES", "When it ends, YYYY-MM-DD (empty: unknown)", optional=True)
        if values.get("GRAPH_OBJECT_ID"):
            answers.ask("GRAPH_OBJECT_ID", "Object ID of the app registration (a secret needs none)", optional=True)
    answers.ask("GRAPH_SENDER", "Mailbox to send as")
    _, source, warnings = address_book(settings.check(values | {"MAIL_TO": ""})).administration()
    hint = "" if warnings else f" (empty: as {source})"
    answers.ask("MAIL_TO", f"Who gets mail for root{hint}", optional=not warnings)
    return settings.check(values)


def _asks_for_a_certificate(values: dict[str, str]) -> bool:
    """Where there is no credential yet, and a terminal: a secret, or a certificate that is made here?"""
    known = values.get("GRAPH_CLIENT_SECRET") or values.get("GRAPH_CLIENT_CERTIFICATE") or values.get("GRAPH_CREDENTIAL")
    if known or not sys.stdin.isatty():
        return False
    question = "Make a certificate on this host, whose key never leaves it, instead of a client secret?"
    return typer.confirm(question, default=False)


def _certificate(answers: Answers, cluster: bool) -> bool:
    """A new key and certificate, unless there is one; was it made now?"""
    if cluster:
        raise UsageError(
            "each node has a certificate of its own, so there is none for the cluster; run setup --certificate on each node"
        )
    if not sys.stdin.isatty():  # before anything is made that would lie about
        for key in ("GRAPH_TENANT_ID", "GRAPH_CLIENT_ID", "GRAPH_SENDER"):
            answers.ask(key, key)
    path = Path(answers.values.get("GRAPH_CLIENT_CERTIFICATE") or paths.CERTIFICATE)
    public = path.with_suffix(".crt")
    if public == path:
        raise UsageError(f"GRAPH_CLIENT_CERTIFICATE {path} holds key and certificate: its name must end in .pem")
    new = not path.exists()
    if new:
        settings_file.replace(path, certificate.make(this_host().name).pem.decode())
    try:
        known = certificate.read(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FileError(f"cannot use {path}: {error}; put a good one there, or move it away and run this again") from None
    if not public.exists() or public.read_bytes() != known.public:
        public.write_bytes(known.public)
    print(f"{'Made a key and a certificate' if new else 'There is a key and a certificate'}. The key stays in {path}.")
    print(f"Upload {public} (thumbprint {known.thumbprint}) in the app registration under Certificates & secrets, Certificates.")
    # A certificate knows its own end.
    gone = dict.fromkeys(("GRAPH_CLIENT_SECRET", "CREDENTIAL_EXPIRES", "GRAPH_CREDENTIAL", "GRAPH_FEDERATED_TOKEN_FILE"), "")
    answers.take(gone | {"GRAPH_CLIENT_CERTIFICATE": str(path)})
    return new
