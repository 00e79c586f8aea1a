"""`rotate`: a new credential in the old one's place, with no instant without one that works.

A certificate renews itself (graph/rotation.py), by hand or by a timer 30 days before its end:

    FILE.next      the new key and certificate, made; perhaps registered
    FILE           what the settings name: the old one, until the new one has got a token of its own; then that, by a rename
    FILE.old       the old one, for a day; then its key is removed from the app, if its keyId is known
    FILE.keys.json the keyIds of the keys that this host registered, by thumbprint

Each step can be cut: the next run sees which files there are, and whether FILE.next gets a token already, and goes on from there.
A secret cannot renew itself: the new one is asked for, proved, and written.
"""

import getpass
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from proxmox_graph_mail import log, settings
from proxmox_graph_mail.admin import settings_file
from proxmox_graph_mail.admin.wiring import credential, require_root
from proxmox_graph_mail.delivery import expiry
from proxmox_graph_mail.errors import EX_TEMPFAIL, EX_UNAVAILABLE, SettingsError, UsageError
from proxmox_graph_mail.graph import certificate, http
from proxmox_graph_mail.graph.client import GraphClient
from proxmox_graph_mail.graph.credential import Credential, CredentialError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.graph.rotation import Application
from proxmox_graph_mail.graph.throttle import Throttle
from proxmox_graph_mail.graph.token_cache import TokenCache
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.log import printable

DUE = 30
"""Days before the end from which the timer renews."""
GRACE = 86400.0
"""Seconds for which the old key stays registered: what is in flight, and replicas of Entra, may still need it."""
REPLICATION = 120.0
"""Seconds to wait until every part of Entra knows a new key."""
AGAIN = 5.0
"""Seconds between two looks."""


def rotate(
    if_due: Annotated[bool, typer.Option("--if-due", help="Only within 30 days of a certificate's end; for the timer.")] = False,
    secret_file: Annotated[Path | None, typer.Option("--secret-file", help="File with the new secret; - is stdin.")] = None,
    expires: Annotated[str, typer.Option("--expires", metavar="DATE", help="When the new secret ends, YYYY-MM-DD.")] = "",
) -> None:
    """Renew the credential: a certificate by itself, a secret with your help. What is new is proved before the old goes.

    Example: proxmox-graph-mail rotate
    """
    log.setup("rotate", echo=False)
    require_root("the credential")
    try:
        found = settings.load()
    except SettingsError:
        if if_due:
            return  # not set up yet, or the credential is one of systemd's: nothing that could be renewed here
        raise
    if found.graph_credential == "secret" and not if_due:
        _rotate_secret(found, secret_file, expires)
    elif found.graph_credential == "certificate" and found.graph_client_certificate:
        _rotate_certificate(found, found.graph_client_certificate, if_due=if_due)
    elif not if_due:
        raise UsageError(f"a {found.graph_credential} credential has nothing here to renew")


def _rotate_secret(found: settings.Settings, secret_file: Path | None, expires: str) -> None:
    if secret_file is None and not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask on; --secret-file gives the new secret.\n{expiry.REMEDIES['secret']}")
    if secret_file is None:
        print(expiry.REMEDIES["secret"].partition("\n\n")[0])
        value = getpass.getpass("New secret (its Value; not shown): ").strip()
        expires = expires or input("When it ends, YYYY-MM-DD (empty: unknown): ").strip()
    else:
        value = (sys.stdin.readline() if str(secret_file) == "-" else secret_file.read_text("utf-8")).strip()
    if fault := settings.fault("GRAPH_CLIENT_SECRET", value) or ("" if value else "it is empty"):
        raise SettingsError(f"GRAPH_CLIENT_SECRET: {fault}")
    if fault := settings.fault("CREDENTIAL_EXPIRES", expires) if expires else "":
        raise SettingsError(f"CREDENTIAL_EXPIRES: {fault}")
    place = settings.origins().get("graph_client_secret", "")
    if not place.startswith("/"):
        raise UsageError(f"the secret comes from {place}: put the new one there")
    who = credential(found)
    _prove(found, Credential(who.cloud, who.tenant, who.client, "secret", value))
    print("ok: Entra gives a token for the new secret")
    settings_file.write(Path(place), {"GRAPH_CLIENT_SECRET": value, "CREDENTIAL_EXPIRES": expires})
    print(f"ok: {place} has the new secret{'' if expires else '; set CREDENTIAL_EXPIRES, and you are warned before it ends'}")
    print("Remove the old one in the app registration when mail has gone with the new: proxmox-graph-mail test")


def _rotate_certificate(found: settings.Settings, path: Path, *, if_due: bool) -> None:
    next_, old = Path(f"{path}.next"), Path(f"{path}.old")
    _forget_old(found, path, old)
    left = (certificate.read(path).ends - datetime.now(UTC)).days
    if if_due and left > DUE and not next_.exists():
        return
    if not found.graph_application_id:
        raise UsageError("set GRAPH_APPLICATION_ID to the Object ID of the app registration, without which no key can be added")
    if left < 0:
        raise UsageError(
            f"{path} has ended, and with it no key can be added any more: move it away, and proxmox-graph-mail setup "
            "--certificate makes a new one to be uploaded"
        )
    if not next_.exists():
        settings_file.replace(next_, certificate.make(this_host().name).pem.decode())
        _say(f"a new key and certificate are made: {next_}")
    new = _with_file(found, next_)
    if _refusal(found, new):
        added = certificate.read(next_)
        with application(found) as app:
            outcome, key_id = app.add_key(path.read_bytes(), added.der, time.time())
        if outcome.status is not Status.SENT:
            raise typer.Exit(_failed(f"Graph does not add the new key: {outcome.reason}", outcome))
        _remember(path, added, key_id)
        _say("the new key is registered")
        _await(found, new)
    # From here on the new one works: it takes the old one's place by one rename.
    old.unlink(missing_ok=True)
    os.link(path, old)
    os.utime(old)
    os.replace(next_, path)
    until = certificate.read(path).ends.date()
    _say(f"{path} is the new certificate, until {until}; the old one is removed from the app after a day")


def _forget_old(found: settings.Settings, path: Path, old: Path) -> None:
    """Remove the old key, when it has had its day."""
    try:
        if time.time() - old.stat().st_mtime < GRACE:
            return
        gone = certificate.read(old)
    except FileNotFoundError:
        return
    keys = _keys(path)
    key_id = keys.pop(gone.fingerprint, "")
    if key_id and found.graph_application_id:
        with application(found) as app:
            outcome = app.remove_key(path.read_bytes(), key_id, time.time())
        if outcome.status is not Status.SENT and "404" not in outcome.reason:
            _say(f"the old key is not removed yet: {outcome.reason}")
            return
        _say("the old key is removed from the app")
        settings_file.replace(Path(f"{path}.keys.json"), json.dumps(keys))
    else:
        _say(f"the old key was not registered by this host; it ends on {gone.ends.date()}, or remove it by hand")
    old.unlink()


def _await(found: settings.Settings, new: Credential) -> None:
    end = time.monotonic() + REPLICATION
    print("Waiting until Entra knows the new key …")
    while reason := _refusal(found, new):
        if time.monotonic() > end:
            _say(f"Entra does not take the new key yet ({reason}); the old one stays in use, and the next run goes on from here")
            raise typer.Exit(EX_TEMPFAIL)
        time.sleep(AGAIN)


def _prove(found: settings.Settings, who: Credential) -> None:
    if reason := _refusal(found, who):
        print(f"no token for it: {printable(reason)}", file=sys.stderr)
        print("Nothing is changed.", file=sys.stderr)
        raise typer.Exit(EX_UNAVAILABLE)


def _refusal(found: settings.Settings, who: Credential) -> str:
    """Why Entra gives no token for a credential; empty if it does."""
    with http.client(found.graph_ca_file, found.https_proxy.get_secret_value(), found.no_proxy) as client:
        try:
            who.acquire(client, time.time())
        except CredentialError as error:
            return error.outcome.reason
    return ""


@contextmanager
def application(found: settings.Settings) -> Iterator[Application]:
    """The app registration, by its present credential. The token is not kept: root leaves no file among the service user's."""
    who = credential(found)
    proxy = found.https_proxy.get_secret_value()
    with TemporaryDirectory() as state, http.client(found.graph_ca_file, proxy, found.no_proxy) as client:
        tokens = TokenCache(Path(state), who, client)
        graph = GraphClient(client, tokens, who.cloud.endpoint, Throttle(threading.Event()))
        yield Application(graph, found.graph_application_id)


def _with_file(found: settings.Settings, path: Path) -> Credential:
    who = credential(found)
    return Credential(who.cloud, who.tenant, who.client, "certificate", "", path)


def _keys(path: Path) -> dict[str, str]:
    try:
        found = json.loads(Path(f"{path}.keys.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _remember(path: Path, added: certificate.Known, key_id: str) -> None:
    settings_file.replace(Path(f"{path}.keys.json"), json.dumps(_keys(path) | {added.fingerprint: key_id}))


def _failed(text: str, outcome: Outcome) -> int:
    log.line(text, log.ERR)
    print(printable(text), file=sys.stderr)
    return EX_TEMPFAIL if outcome.status in (Status.TRANSIENT, Status.UNCERTAIN) else EX_UNAVAILABLE


def _say(text: str) -> None:
    log.line(text, log.NOTICE)
    print(text)
