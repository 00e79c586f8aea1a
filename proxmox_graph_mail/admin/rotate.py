"""`rotate`: a new credential in the old one's place, with no instant without one that works.

A certificate renews itself (graph/application.py), by hand or by a timer 30 days before its end:

    FILE.next      the new key and certificate, made; perhaps registered
    FILE           what the settings name: the old one, until the new one has got a token of its own; then that, by a rename
    FILE.old       the old one, for a day; then its key is removed from the app, if its keyId is known
    FILE.keys.json the keyIds of the keys that this host registered, by thumbprint

Each step can be cut: the next run sees which files there are, and whether FILE.next gets a token already, and goes on from there.
A secret cannot renew itself: the new one is asked for, proved, and written.

Root writes the files; what speaks to Microsoft is a process of the service user's.
"""

import getpass
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from proxmox_graph_mail import files, log, paths, settings
from proxmox_graph_mail.admin import settings_file
from proxmox_graph_mail.admin.ask import secret_from
from proxmox_graph_mail.admin.connection import Connection, credential_of
from proxmox_graph_mail.admin.privileges import as_service_user, require_root
from proxmox_graph_mail.delivery import credential_end
from proxmox_graph_mail.errors import (
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    CredentialError,
    FileError,
    MailError,
    RequestError,
    SettingsError,
    UsageError,
)
from proxmox_graph_mail.graph import certificate
from proxmox_graph_mail.graph.application import Application, check_object_id
from proxmox_graph_mail.graph.credential import Credential
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.settings import Settings

DUE = 30  # days before the end from which the timer renews
GRACE = 86400.0  # seconds for which the old key stays registered: what is in flight, and replicas of Entra, may still need it
REPLICATION = 120.0  # seconds to wait until every part of Entra knows a new key
AGAIN = 5.0  # seconds between two looks


def rotate(
    if_due: Annotated[bool, typer.Option("--if-due", help="Only within 30 days of a certificate's end; for the timer.")] = False,
    secret_file: Annotated[Path | None, typer.Option("--secret-file", help="File with the new secret; - is stdin.")] = None,
    expires: Annotated[str, typer.Option("--expires", metavar="DATE", help="When the new secret ends, YYYY-MM-DD.")] = "",
) -> None:
    """Renew the credential: a certificate automatically, a secret by asking you. The new one is tested first.

    Example: proxmox-graph-mail rotate
    """
    log.setup("rotate", echo=False)
    require_root("the credential")
    try:
        present = settings.load()
    except SettingsError:
        if if_due:
            return  # not set up yet, or the credential is one of systemd's: nothing that could be renewed here
        raise
    if present.graph_credential == "secret" and not if_due:
        _rotate_secret(present, secret_file, expires)
    elif present.graph_credential == "certificate" and present.graph_client_certificate:
        _rotate_certificate(present, present.graph_client_certificate, if_due=if_due)
    elif not if_due:
        raise UsageError(f"a {present.graph_credential} credential needs no rotation here")


def _rotate_secret(present: Settings, secret_file: Path | None, expires: str) -> None:
    if secret_file is None and not sys.stdin.isatty():
        raise UsageError(
            f"there is no terminal to ask on; --secret-file gives the new secret.\n{credential_end.REMEDIES['secret']}"
        )  # fmt: skip
    if secret_file is None:
        print(credential_end.REMEDIES["secret"].partition("\n\n")[0])
        value = getpass.getpass("New secret (its Value; not shown): ").strip()
        expires = expires or input("When it ends, YYYY-MM-DD (empty: unknown): ").strip()
    else:
        value = secret_from(secret_file)
    if fault := settings.fault("GRAPH_CLIENT_SECRET", value) or ("" if value else "it is empty"):
        raise SettingsError(f"GRAPH_CLIENT_SECRET: {fault}")
    if fault := settings.fault("CREDENTIAL_EXPIRES", expires) if expires else "":
        raise SettingsError(f"CREDENTIAL_EXPIRES: {fault}")
    place = settings.source().values["graph_client_secret"]
    if place.file not in map(paths.shown, paths.settings_files()):
        raise UsageError(f"the secret comes from {place.place}: put the new one there")
    who = credential_of(present)
    if reason := _refusal(present, Credential(who.cloud, who.tenant, who.client, "secret", value)):
        print(f"Entra gives no token for the new secret: {printable(reason)}\nNothing was changed.", file=sys.stderr)
        raise typer.Exit(EX_UNAVAILABLE)
    print("ok: Entra accepts the new secret")
    settings_file.write(Path(place.file), {"GRAPH_CLIENT_SECRET": value, "CREDENTIAL_EXPIRES": expires})
    print(
        f"ok: {place.file} has the new secret{'' if expires else '; set CREDENTIAL_EXPIRES to be warned in time before it ends'}"
    )
    print("Once a test mail has been sent with it (proxmox-graph-mail test), delete the old secret in the app registration")


def _rotate_certificate(present: Settings, path: Path, *, if_due: bool) -> None:
    next_ = Path(f"{path}.next")
    _forget_old(present, path, Path(f"{path}.old"))
    left = (_certificate(path).ends - datetime.now(UTC)).days
    if if_due and left > DUE and not next_.exists():
        return
    if not present.graph_object_id:
        raise UsageError("set GRAPH_OBJECT_ID to the Object ID of the app registration, without which no key can be added")
    if left < 0:
        raise UsageError(
            f"{path} has expired, and Graph accepts no new key from it; move it away and make a new one, to be uploaded: "
            "proxmox-graph-mail setup --certificate"
        )
    if not next_.exists():
        settings_file.replace(next_, certificate.make(this_host().name).pem.decode())
        _say(f"made a new key and certificate: {next_}")
    if _refusal(present, _with_file(present, next_)):
        _register(present, path, next_)
        _await(present, _with_file(present, next_))
    _switch(path, next_)


def _register(present: Settings, path: Path, next_: Path) -> None:
    """Add the new key to the app, by a proof of the old one."""
    added = _certificate(next_)
    proof = _pem(path)

    def add() -> tuple[str, str, int]:
        try:
            with Connection(present, None) as connection:
                check_object_id(present.graph_object_id, connection.tokens.get())
                return Application(connection.graph, present.graph_object_id).add_key(proof, added.der, time.time()), "", 0
        except MailError as error:
            return "", str(error), error.status

    key_id, reason, status = as_service_user(add)
    if reason:
        raise typer.Exit(_failed(f"Graph refused to add the new key: {reason}", status))
    _remember(path, added, key_id)
    _say("registered the new key")


def _switch(path: Path, next_: Path) -> None:
    """From here on the new one works: it takes the old one's place by one rename."""
    old = Path(f"{path}.old")
    old.unlink(missing_ok=True)
    os.link(path, old)
    os.utime(old)
    os.replace(next_, path)
    mine = _certificate(old).fingerprint in _keys(path)
    fate = "is removed from the app in a day" if mine else "was not registered by this host: remove it from the app by hand"
    _say(f"{path} is the new certificate, valid until {_certificate(path).ends.date()}; the old one {fate}")


def _forget_old(present: Settings, path: Path, old: Path) -> None:
    """Remove the old key, after the grace period."""
    try:
        if time.time() - old.stat().st_mtime < GRACE:
            return
    except FileNotFoundError:
        return
    gone = _certificate(old)
    keys = _keys(path)
    key_id = keys.pop(gone.fingerprint, "")
    if key_id and present.graph_object_id:
        proof = _pem(path)

        def remove() -> str:
            try:
                with Connection(present, None) as connection:
                    Application(connection.graph, present.graph_object_id).remove_key(proof, key_id, time.time())
            except RequestError as error:
                return str(error)
            return ""

        if reason := as_service_user(remove):
            _say(f"the old key is not removed yet ({reason})")
            return
        _say("removed the old key from the app")
        settings_file.replace(Path(f"{path}.keys.json"), json.dumps(keys))
    else:
        _say(f"this host did not register the old key: remove it from the app by hand, or let it expire on {gone.ends.date()}")
    old.unlink()


def _await(present: Settings, new: Credential) -> None:
    end = time.monotonic() + REPLICATION
    print("Waiting until Entra knows the new key …")
    while reason := _refusal(present, new):
        if time.monotonic() > end:
            _say(f"Entra does not take the new key yet ({reason}); the old one stays in use; the next run continues")
            raise typer.Exit(EX_TEMPFAIL)
        time.sleep(AGAIN)


def _refusal(present: Settings, who: Credential) -> str:
    """Why Entra gives no token for a credential; empty if it does."""

    def ask() -> str:
        try:
            with Connection(present, None, credential=who) as connection:
                connection.tokens.get()
        except (CredentialError, SettingsError) as error:
            return str(error)
        return ""

    return str(as_service_user(ask))


def _with_file(present: Settings, path: Path) -> Credential:
    who = credential_of(present)
    return Credential(who.cloud, who.tenant, who.client, "certificate", "", path)


def _pem(path: Path) -> bytes:
    try:
        return files.read_named(path)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error


def _certificate(path: Path) -> certificate.Known:
    """The certificate in a PEM file, which has its private key too. Raises FileError."""
    try:
        return certificate.read(_pem(path))
    except ValueError as error:
        remedy = "put a good one there, or move it away and run proxmox-graph-mail setup --certificate"
        raise FileError(f"cannot use {path}: {error}; {remedy}") from error


def _keys(path: Path) -> dict[str, str]:
    return {key: str(value) for key, value in files.read_json(f"{path}.keys.json").items()}


def _remember(path: Path, added: certificate.Known, key_id: str) -> None:
    settings_file.replace(Path(f"{path}.keys.json"), json.dumps(_keys(path) | {added.fingerprint: key_id}))


def _failed(text: str, status: int) -> int:
    log.line(text, log.ERR)
    print(printable(text), file=sys.stderr)
    return status


def _say(text: str) -> None:
    log.line(text, log.NOTICE)
    print(text)
