"""Settings → a connection to Microsoft, and the relay that every message takes. The one place where either is made.

Whoever needs Graph or Entra (the queue runner, check, test, setup, rotate, deliver) connects here: proxy, CA file, credential,
token cache and throttle are always those of the settings.
"""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from proxmox_graph_mail import files, log, paths
from proxmox_graph_mail import settings as settings_module
from proxmox_graph_mail.delivery.configuration import Configuration
from proxmox_graph_mail.delivery.digest_rule import DigestRule
from proxmox_graph_mail.delivery.pace import Policy
from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.graph.cloud import Cloud, cloud
from proxmox_graph_mail.graph.credential import Credential
from proxmox_graph_mail.graph.entra import TokenEndpoint
from proxmox_graph_mail.graph.http import Wire
from proxmox_graph_mail.graph.mailbox import SendingMailbox
from proxmox_graph_mail.graph.permissions import Permissions
from proxmox_graph_mail.graph.request import Graph
from proxmox_graph_mail.graph.throttle import Throttle
from proxmox_graph_mail.graph.token_cache import TokenCache
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.message.aliases import read_aliases
from proxmox_graph_mail.message.recipients import AddressBook
from proxmox_graph_mail.proxmox import facts
from proxmox_graph_mail.settings import Settings


class Connection:
    """A way to Microsoft by these settings: `wire` the HTTP client, `tokens` the access tokens, `graph` the requests.

    `state` keeps tokens for other processes; None: for this one alone (root leaves no file among the service user's).
    `credential` is the settings' own, or one that is to be tried. Raises SettingsError.
    """

    def __init__(
        self, settings: Settings, state: Path | None, *, credential: Credential | None = None, stop: threading.Event | None = None
    ) -> None:  # fmt: skip
        self.settings = settings
        self.credential = credential or credential_of(settings)
        self.state = state
        self.wire = Wire(settings.graph_ca_file, settings.proxy(), settings.no_proxy, hosts(self.credential.cloud), stop)
        self.tokens = TokenCache(state, TokenEndpoint(self.credential, self.wire))
        self.graph = Graph(self.wire, self.tokens, self.credential.cloud.endpoint, Throttle(stop))

    def mailbox(self, address: str = "") -> SendingMailbox:
        """The mailbox of the settings, or another one."""
        sender = address or self.settings.graph_sender
        return SendingMailbox(self.graph, sender, Permissions(self.state, f"{self.credential.key} {sender}"))

    def close(self) -> None:
        """Close its connections."""
        self.wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hosts(where: Cloud) -> list[str]:
    """The hosts of a cloud that are reached through the proxy."""
    return [*(urlsplit(url).hostname or "" for url in (where.authority, where.endpoint)), *where.uploads]


def credential_of(settings: Settings) -> Credential:
    """The app's credential."""
    secret = settings.graph_client_secret
    named = {"certificate": settings.graph_client_certificate, "federated": settings.graph_federated_token_file}
    return Credential(
        cloud=cloud(settings.graph_cloud, settings.graph_authority, settings.graph_endpoint),
        tenant=settings.graph_tenant_id,
        client=settings.graph_client_id,
        kind=settings.graph_credential,
        secret=secret.get_secret_value() if secret else "",
        file=named.get(settings.graph_credential),
    )


def ends(settings: Settings) -> date | None:
    """The credential's last day: a certificate's own, else CREDENTIAL_EXPIRES."""
    return credential_of(settings).ends() or settings.credential_expires


def credential_fault(settings: Settings) -> str | None:
    """What is wrong with the credential's files, a sentence that ends in what to do; None if nothing is."""
    named = settings.graph_client_certificate
    if settings.graph_credential == "certificate" and named is not None:
        from proxmox_graph_mail.graph import certificate  # expensive to import, and only a certificate needs it

        remedy = "put a good one there, or make a new one: proxmox-graph-mail setup --certificate"
        try:
            certificate.read(files.read_named(named))
        except OSError as error:
            return f"cannot read GRAPH_CLIENT_CERTIFICATE {named}: {error.strerror}; {remedy}"
        except ValueError as error:
            return f"GRAPH_CLIENT_CERTIFICATE {named}: {error}; {remedy}"
    for path in (*settings_module.files(), *([named] if named is not None else [])):
        if _mode(path) & 0o007:
            return f"{path} is open to every user; chmod 0640 {path}, then make a new credential, for this one may have leaked"
    return None


def address_book(settings: Settings) -> AddressBook:
    """Who reads mail for local names."""
    known = facts.known()
    aliases = read_aliases(Path(paths.aliases()))
    # As with Postfix: a .forward is root's own, and counts only where /etc/aliases leaves root's mail with root.
    # Where root@pam has no address, what is handed over may reach nobody, and nobody would be told.
    by_file = known.forward_file_pipes and "root" not in aliases.entries and bool(known.admin)
    wanted = settings.mail_forward == "always" or (settings.mail_forward == "auto" and by_file)
    return AddressBook(
        this_host(cluster=known.cluster), aliases, settings.mail_to_addresses(), settings.graph_sender,
        admin=known.admin, admin_source=known.admin_source, hands_over_root=bool(known.forward_program) and wanted,
        forward_addresses=() if "root" in aliases.entries else known.forward_addresses,
    )  # fmt: skip


def state_directory() -> Path:
    """The state directory, made if it is missing. Raises SettingsError."""
    path = Path(paths.state())
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make the state directory {path}: {error.strerror}") from error
    return path


def policy(settings: Settings) -> Policy:
    """How fast mail goes, and what is gathered."""
    rule = None
    if settings.digest is not None:
        number, minutes, every = settings.digest
        rule = DigestRule(number, minutes * 60.0, every * 60.0)
    daily, user_daily = settings.mailbox_daily_recipients, settings.user_daily_recipients
    return Policy(rate=settings.mailbox_rate, daily=daily, user_daily=user_daily, digest=rule)


def relay(settings: Settings, stop: threading.Event) -> tuple[Relay, Callable[[], None]]:
    """The relay, and what closes its connections. Raises SettingsError."""
    connection = Connection(settings, state_directory(), stop=stop)
    made = Relay(
        mailbox=connection.mailbox(),
        sender=settings.graph_sender,
        book=address_book(settings),
        headers=connection.credential.cloud.headers,
        save_to_sent_items=settings.graph_save_to_sent_items,
        mime=settings.mail_format == "mime",
        credential=settings.graph_credential,
        ends=ends(settings),
        policy=policy(settings),
    )
    return made, connection.close


def relay_for_another_queue(settings: Settings) -> tuple[Relay, Callable[[], None]]:
    """The same for an MTA that has delivered to its local users already, and has the original."""
    made, close = relay(settings, threading.Event())
    return replace(made, book=replace(made.book, hands_over_root=False), keeps_original=False), close


def configuration(
    stop: threading.Event, watch: Callable[[Iterable[Path]], None], tell: Callable[[Settings], None] = lambda _settings: None
) -> Configuration:
    """The settings as the runner sees them; `watch` is told the files whose change it wants to know of, `tell` what was read."""
    named = settings_module.files()

    def load() -> tuple[Relay, float, Callable[[], None]]:
        nonlocal named
        watch(watched())
        settings = settings_module.load()
        named = settings_module.files(settings)
        watch(watched())
        for path in settings_module.files():
            if _mode(path) & 0o007:
                log.line(f"warning: {path} holds the credential and is world-readable: chmod 0640 {path}", log.WARNING)
        tell(settings)
        made, close = relay(settings, stop)
        return made, settings.queue_lifetime, close

    def watched() -> tuple[Path, ...]:
        return (*named, Path(paths.aliases()), Path(paths.host_facts()))

    def signature() -> dict[str, object]:
        # Who sends is in each mail: a host that is renamed says so from then on.
        return {str(path): _state(path) for path in watched()} | {"host name": os.uname().nodename}

    return Configuration(load, signature)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    # ctime too: a file's owner and mode are what an admin mends where it could not be read.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
