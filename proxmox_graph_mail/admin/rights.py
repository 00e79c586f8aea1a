"""What `check` asks Microsoft about the app's rights: a token, the mailbox, and somebody else's mailbox. Nothing is sent."""

from collections.abc import Iterator

from proxmox_graph_mail.admin.connection import Connection, state_directory
from proxmox_graph_mail.admin.finding import FAIL, OK, WARN, Finding
from proxmox_graph_mail.errors import CredentialError, SettingsError
from proxmox_graph_mail.graph.application import check_object_id
from proxmox_graph_mail.graph.codes import NO_MAILBOX, NOT_PERMITTED
from proxmox_graph_mail.graph.message import LARGE
from proxmox_graph_mail.graph.outcome import Status
from proxmox_graph_mail.settings import Settings


def token(settings: Settings) -> Iterator[Finding]:
    """A token, and what it permits."""
    with Connection(settings, state_directory()) as connection:
        connection.tokens.forget_refusal()
        try:
            # A new one: what a token permits was decided when it was issued, perhaps before an admin granted or took a right.
            got = connection.tokens.replace(connection.tokens.get())
        except CredentialError as error:
            yield Finding("token", FAIL, str(error))
            return
    claims, roles = got.claims(), got.roles
    text = f"for app {claims.get('appid', settings.graph_client_id)} in tenant {claims.get('tid', settings.graph_tenant_id)}"
    yield Finding("token", OK, f"{text}, with {', '.join(roles)}" if roles else text)
    if "Mail.Send" in roles:
        text = "Mail.Send is granted in Entra, so the app may send as every mailbox of the tenant"
        yield Finding("scope", WARN, text, "proxmox-graph-mail entra rbac restricts it to one")
        if "Mail.ReadWrite" not in roles:
            text = f"over {LARGE} it arrives smaller, with a note; the permission Mail.ReadWrite lets it arrive whole"
            yield Finding("large mail", OK, text)
    else:
        yield Finding("scope", OK, "Entra grants no Mail.Send, so Exchange's RBAC decides which mailboxes the app may send as")
    try:
        check_object_id(settings.graph_object_id, got)
    except SettingsError as error:
        yield Finding("renewal", FAIL, str(error))


def mailbox(settings: Settings) -> Iterator[Finding]:
    """Does Graph let the app send as the mailbox?"""
    sender = settings.graph_sender
    with Connection(settings, state_directory()) as connection:
        outcome = connection.mailbox().probe()
    if outcome.status is Status.SENT:
        yield Finding("mailbox", OK, f"Graph lets the app send as {sender}")
    elif outcome.status in (Status.HELD, Status.TRANSIENT):
        yield Finding("mailbox", FAIL if outcome.status is Status.HELD else WARN, f"{sender}: {outcome.reason}")
    else:
        text = f"{sender}: no clear answer ({outcome.reason})"
        yield Finding("mailbox", WARN, text, "proxmox-graph-mail test tries a mail")


def not_as(settings: Settings, address: str) -> Iterator[Finding]:
    """Is the app refused as another sender? It is asked by a message without recipients, which nobody could get."""
    with Connection(settings, None) as connection:
        outcome = connection.mailbox(address).probe()
    if outcome.status is Status.SENT:
        remedy = "proxmox-graph-mail entra rbac restricts it, entra revoke takes the tenant-wide right away"
        yield Finding("not as", FAIL, f"the app may send as {address}", remedy)
    elif outcome.code in NOT_PERMITTED:
        yield Finding("not as", OK, f"Graph refuses the app as {address}")
    elif outcome.code in NO_MAILBOX:
        yield Finding("not as", WARN, f"{address}: {outcome.reason}", "name a mailbox that exists: this one proves nothing")
    else:
        yield Finding("not as", WARN, f"{address}: no clear answer ({outcome.reason})", "try again later")
