"""Trying settings at Microsoft before they are written: a token, the mailbox, the renewal of a certificate.

Nothing is sent: the mailbox is asked by a message without recipients. What Microsoft refuses is told as a sentence with the keys
that may be wrong, so that `setup` asks for those again and keeps the rest.
"""

import time
from dataclasses import dataclass

from proxmox_graph_mail import files
from proxmox_graph_mail.admin.connection import Connection
from proxmox_graph_mail.errors import ConnectionFailedError, CredentialError, MailError, RequestError, SettingsError
from proxmox_graph_mail.graph import certificate
from proxmox_graph_mail.graph.application import Application, check_object_id
from proxmox_graph_mail.graph.codes import NO_MAILBOX, NOT_PERMITTED
from proxmox_graph_mail.graph.credential import Token
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.host import this_host
from proxmox_graph_mail.settings import Settings

WRONG_TENANT = frozenset(("AADSTS90002", "AADSTS900023", "AADSTS50194"))
WRONG_APP = frozenset(("AADSTS700016", "AADSTS700011", "AADSTS7000229"))
WRONG_SECRET = frozenset(("AADSTS7000215", "AADSTS7000222", "AADSTS7000218"))
NOT_YET = (
    "If you mean to restrict the app to this mailbox, write the settings now (w), then run "
    "proxmox-graph-mail entra rbac; mail waits until Exchange has noticed"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What Microsoft does not take: a sentence, and the keys to correct (none: something outside the settings).

    `temporary`: the values may be right; Microsoft was not reached, or has not noticed yet what was granted.
    """

    sentence: str
    keys: tuple[str, ...] = ()
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found: `good` in sentences; what is refused; and whether the app may send as every mailbox of the tenant."""

    good: tuple[str, ...]
    refusal: Refusal | None = None
    unrestricted: bool = False


def try_out(settings: Settings) -> Trial:
    """Ask Entra for a token and Graph about the mailbox, and try the certificate's renewal. Raises SettingsError."""
    good: list[str] = []
    with Connection(settings, None) as connection:
        try:
            token = connection.tokens.get()
            check_object_id(settings.graph_object_id, token)
        except CredentialError as error:
            return Trial((), _no_token(error, settings))
        except SettingsError as error:
            return Trial((), Refusal(str(error), ("GRAPH_OBJECT_ID",)))
        unrestricted = "Mail.Send" in token.roles
        note = "" if unrestricted else " without Mail.Send, as with RBAC for Applications"
        good.append(f"Entra gives a token{note}")
        if (refusal := _mailbox(connection, token)) is not None:
            return Trial(tuple(good), refusal, unrestricted)
        good.append(f"Graph lets the app send as {settings.graph_sender}")
        if settings.graph_object_id and settings.graph_credential == "certificate":
            if (refusal := _renewal(connection)) is not None:
                return Trial(tuple(good), refusal, unrestricted)
            good.append("the certificate can be renewed: a key was added to the app, and removed again")
    return Trial(tuple(good), None, unrestricted)


def _no_token(error: CredentialError, settings: Settings) -> Refusal:
    sentence = f"Entra gives no token: {error}"
    if error.temporary or isinstance(error.__cause__, ConnectionFailedError):
        return Refusal(sentence, temporary=True)
    keys: tuple[str, ...] = ()
    if error.code in WRONG_TENANT:
        keys = ("GRAPH_TENANT_ID",)
    elif error.code in WRONG_APP:
        keys = ("GRAPH_CLIENT_ID", "GRAPH_TENANT_ID")
    elif error.code in WRONG_SECRET and settings.graph_credential == "secret":
        keys = ("GRAPH_CLIENT_SECRET", "CREDENTIAL_EXPIRES")
    return Refusal(sentence, keys)


def _mailbox(connection: Connection, token: Token) -> Refusal | None:
    outcome: Outcome = connection.mailbox().probe()
    if outcome.status is Status.SENT:
        return None
    said = f"{connection.settings.graph_sender}: {outcome.reason}"
    if outcome.code in NO_MAILBOX:
        return Refusal(said, ("GRAPH_SENDER",))
    if outcome.code not in NOT_PERMITTED:
        return Refusal(said, temporary=True)
    if "Mail.Send" in token.roles:  # Entra's own permission covers every mailbox that there is
        return Refusal(said, ("GRAPH_SENDER",), temporary=True)
    return Refusal(f"{said}. {NOT_YET}", temporary=True)


def _renewal(connection: Connection) -> Refusal | None:
    """Add a key as `rotate` will, and remove it: so nobody learns of a wrong Object ID 30 days before the certificate ends."""
    settings = connection.settings
    application = Application(connection.graph, settings.graph_object_id)
    try:
        pem = files.read_named(settings.graph_client_certificate)
        application.try_renewal(pem, certificate.make(this_host().name).der, time.time())
    except RequestError as error:
        return Refusal(
            f"the certificate cannot renew itself: {error}", ("GRAPH_OBJECT_ID",), temporary=error.repeatable or error.uncertain
        )
    except (MailError, OSError, ValueError) as error:
        return Refusal(f"the certificate cannot renew itself: {error}", ("GRAPH_OBJECT_ID",))
    return None
