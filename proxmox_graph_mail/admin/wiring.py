"""Settings → the route that every message takes."""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from proxmox_graph_mail import log
from proxmox_graph_mail import settings as settings_module
from proxmox_graph_mail.delivery import expiry
from proxmox_graph_mail.delivery.attempt import Route
from proxmox_graph_mail.delivery.tenancy import Tenancy
from proxmox_graph_mail.errors import PrivilegeError, SettingsError, SpoolError
from proxmox_graph_mail.graph import http
from proxmox_graph_mail.graph.client import GraphClient
from proxmox_graph_mail.graph.cloud import cloud
from proxmox_graph_mail.graph.credential import Credential
from proxmox_graph_mail.graph.permissions import Permissions
from proxmox_graph_mail.graph.throttle import Throttle
from proxmox_graph_mail.graph.token_cache import TokenCache
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.message.aliases import read_aliases
from proxmox_graph_mail.message.recipients import Directory
from proxmox_graph_mail.proxmox import facts, system
from proxmox_graph_mail.settings import Settings
from proxmox_graph_mail.spool import Spool

ALIASES = Path("/etc/aliases")


def state_path() -> Path:
    """`$PROXMOX_GRAPH_MAIL_STATE`, or the package's: token cache, permissions, record of outcomes."""
    return Path(os.environ.get("PROXMOX_GRAPH_MAIL_STATE", "/var/lib/proxmox-graph-mail"))


def state_directory() -> Path:
    """The same, made if it is missing. Raises SettingsError."""
    path = state_path()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make the state directory {path}: {error.strerror}") from error
    return path


def aliases_file() -> Path:
    """`$PROXMOX_GRAPH_MAIL_ALIASES`, or /etc/aliases."""
    return Path(os.environ.get("PROXMOX_GRAPH_MAIL_ALIASES", ALIASES))


def directory(settings: Settings) -> Directory:
    """Who reads mail for local names."""
    known = facts.known()
    aliases = read_aliases(aliases_file())
    # As with Postfix: a .forward is root's own, and counts only where /etc/aliases leaves root's mail with root.
    # Where root@pam has no address, what is handed over may reach nobody, and nobody would be told.
    by_file = known.forward_file and "root" not in aliases.entries and bool(known.admin)
    forward = bool(known.forward) and (settings.mail_forward == "always" or (settings.mail_forward == "auto" and by_file))
    return Directory(
        replace(this_host(), cluster=known.cluster), aliases, settings.mail_to_addresses(), settings.graph_sender,
        admin=known.admin, admin_source=known.admin_source, forward=forward,
        forward_to=() if "root" in aliases.entries else known.forward_to,
    )  # fmt: skip


def credential(settings: Settings) -> Credential:
    """The app's credential."""
    secret = settings.graph_client_secret
    return Credential(
        cloud=cloud(settings.graph_cloud, settings.graph_authority, settings.graph_endpoint),
        tenant=settings.graph_tenant_id,
        client=settings.graph_client_id,
        kind=settings.graph_credential,
        secret=secret.get_secret_value() if secret else "",
        file={"certificate": settings.graph_client_certificate, "federated": settings.graph_federated_token_file}.get(
            settings.graph_credential
        ),
    )


def ends(settings: Settings) -> date | None:
    """The credential's last day: a certificate's own, else CREDENTIAL_EXPIRES."""
    return credential(settings).ends() or settings.credential_expires


def route(settings: Settings, stop: threading.Event) -> tuple[Route, Callable[[], None]]:
    """The route, and what closes its connections. Raises SettingsError."""
    who = credential(settings)
    end = ends(settings)
    if end is not None and (end - date.today()).days <= expiry.FIRST:
        log.line(f"warning: {expiry.words(who.kind, end, date.today())}: proxmox-graph-mail rotate", log.WARNING)
    hosts = [*(urlsplit(url).hostname or "" for url in (who.cloud.authority, who.cloud.endpoint)), *who.cloud.uploads]
    client = http.client(settings.graph_ca_file, settings.https_proxy.get_secret_value(), settings.no_proxy, hosts)
    tokens = TokenCache(state_directory(), who, client)
    permissions = Permissions(state_directory(), f"{who.key} {settings.graph_sender}")
    mailer = GraphClient(client, tokens, who.cloud.endpoint, Throttle(stop), permissions=permissions)
    made = Route(
        mailer=mailer,
        sender=settings.graph_sender,
        directory=directory(settings),
        headers=who.cloud.headers,
        save_to_sent_items=settings.graph_save_to_sent_items,
        mime=settings.mail_format == "mime",
        credential=who.kind,
        ends=end,
    )
    return made, client.close


def tenancy(stop: threading.Event, watch: Callable[[Iterable[Path]], None]) -> Tenancy:
    """The settings as the runner sees them; `watch` is told the files whose change it wants to know of."""
    files = settings_module.settings_files(os.environ)

    def load() -> tuple[Route, float, Callable[[], None]]:
        nonlocal files
        watch(watched())
        found = settings_module.load()
        files = found.files()
        watch(watched())
        for path in settings_module.settings_files(os.environ):
            if os.access(path, os.R_OK) and path.stat().st_mode & 0o007:
                log.line(f"warning: {path} holds the credential and everybody may read it: chmod 0640 {path}", log.WARNING)
        made, close = route(found, stop)
        return made, found.queue_lifetime, close

    def watched() -> tuple[Path, ...]:
        return (*files, aliases_file(), Path(facts.file()))

    def signature() -> dict[str, object]:
        return {str(path): _state(path) for path in watched()}

    return Tenancy(load, signature)


def refresh_facts() -> None:
    """As root, and on a host that has a place for them: read anew what Proxmox says."""
    if os.geteuid() == 0 and os.path.isdir(facts.directory()):
        try:
            facts.refresh()
        except OSError as error:
            log.line(f"cannot write {facts.directory()}: {error.strerror}", log.WARNING)


def require_root(what: str) -> None:
    """Raise PrivilegeError unless this is root."""
    if os.geteuid() != 0:
        raise PrivilegeError(f"{what} are root's to see and change; try it with sudo")


def tell_admin(text: str) -> None:
    """Give a text to the admin's ALARM_COMMAND, if there is one. Raises OSError, subprocess.TimeoutExpired, SettingsError."""
    if command := settings_module.alarm_command():
        system.tell(command, text)


def become_service_user(spool: Spool) -> None:
    """If root: go on as the spool's owner, so that what is written stays the service's to write."""
    try:
        become_owner(Path(spool.root))
    except OSError as error:
        raise SpoolError(f"there is no spool at {spool.root}: {error.strerror}") from error


def become_owner(path: Path) -> None:
    """If root: go on as the owner of a directory. Raises OSError if it is not there."""
    owner = os.stat(path)
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    # ctime too: a file's owner and mode are what an admin mends where it could not be read.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
