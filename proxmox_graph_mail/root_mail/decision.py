"""Which mail is handed to Proxmox's notification system, and when that is no longer waited for.

Root's part comes first, whatever Graph says: another target of Proxmox's may work where Graph does not.
"""

import os
from dataclasses import dataclass, replace
from enum import Enum

from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.host import Host
from proxmox_graph_mail.message.recipients import LOCAL_ROOT, AddressBook
from proxmox_graph_mail.rfc822.header import HEADER_LIMIT, fields
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.spool.journal import History
from proxmox_graph_mail.spool.store import Spool

PATIENCE = 180.0  # seconds after which the queue runner no longer waits for a hand-over, and sends the mail directly
ASKED = "being handed to Proxmox's notification system"
DONE = "handed to Proxmox's notification system"


class RootPart(Enum):
    """What is to be done about local root as a recipient of a message."""

    NONE = "it is not local root's, or comes from there: it goes the way of every mail"
    ASK = "it is to be handed over"
    GIVEN_UP = "that failed, or was not done in time: the administrator gets it directly"
    REST = "that is done, and the others' part remains"
    WHOLE = "that is done, and there is nobody else"


@dataclass(frozen=True, slots=True)
class Decision:
    """The part, and the envelope as far as it was read (None: it did not matter, or cannot be read)."""

    part: RootPart
    envelope: Envelope | None = None

    def book(self, book: AddressBook) -> AddressBook:
        """Who gets the mail by Graph."""
        return replace(book, hands_over_root=self.part is RootPart.REST)


NOTHING = Decision(RootPart.NONE)


def decide(spool: Spool, queue_id: str, history: History, book: AddressBook, now: float) -> Decision:
    """What is to be done about root's part of a message."""
    if not book.hands_over_root:
        return NOTHING
    try:
        with open(spool.open(queue_id), "rb") as file:
            envelope = decode(file.readline(LINE_LIMIT))
            head = file.read(HEADER_LIMIT)
    except (DataError, SpoolError, OSError):
        return NOTHING  # seen when it is tried
    people = {address for recipient in envelope.recipients for address in book.resolve(recipient)[0]}
    if LOCAL_ROOT not in people or in_circle(envelope, head, book.host, os.stat(spool.root).st_uid):
        return Decision(RootPart.NONE, envelope)
    if history.hand_over == journal.DONE:
        return Decision(RootPart.WHOLE if people == {LOCAL_ROOT} else RootPart.REST, envelope)
    return Decision(RootPart.GIVEN_UP if given_up(history, now) else RootPart.ASK, envelope)


def given_up(history: History, now: float) -> bool:
    """Did Proxmox's notification system fail to take it, or not take it in time?"""
    if history.hand_over == journal.ASKED:
        return not 0 <= now - history.hand_over_at < PATIENCE
    return history.hand_over == journal.FAILED


def in_circle(envelope: Envelope, head: bytes, host: Host, service: int) -> bool:
    """Does a mail come from where local root's mail is handed to, so that it would come again and again?

    Proxmox forwards with `-N never`; what was handed over bears our Delivered-To; and what came by SMTP on localhost, as a target
    may send it, bears no mark at all, nor does our own mail.
    """
    if "never" in envelope.notify.lower() or envelope.protocol == "smtp" or envelope.uid == service != 0:
        return True
    ours = delivered_to(host.fqdn).encode()
    return any(name == b"delivered-to" and value.lower() == ours.lower() for name, value in fields(head))


def delivered_to(fqdn: str) -> str:
    """The mark on what was handed over: Postfix's trace field, which cuts the loop of a target that mails local root."""
    return f"root@{fqdn}"
