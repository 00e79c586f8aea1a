"""The relay: what the settings say about every message, and what sends it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from proxmox_graph_mail.delivery.pace import ANY_PACE, Policy
from proxmox_graph_mail.graph.outcome import Outcome
from proxmox_graph_mail.message.mail import Attachment
from proxmox_graph_mail.message.recipients import AddressBook


class Mailbox(Protocol):
    """What sends a request: graph.mailbox.SendingMailbox, or a test's."""

    def send(self, body: bytes) -> Outcome:
        """Send, and say what came of it."""

    def send_mime(self, message: bytes) -> Outcome:
        """Send a message in its MIME form."""

    def send_large(self, message: dict[str, Any], files: Sequence[tuple[Attachment, bool]]) -> Outcome:
        """Send a message with files, by a way that takes any size; the codes NOT_WHOLE and REQUEST_TOO_LARGE say that
        there is none."""

    def request_limit(self) -> int:
        """Bytes that a request may have, as far as is known."""

    def was_sent(self, message_id: str, recipients: Collection[str], at: float) -> Outcome | None:
        """Is the message in Sent Items, to these recipients, sent about then (seconds since the epoch)? SENT if so, None if not;
        another outcome where nothing can be asked now."""

    def be_patient(self, *, patient: bool) -> None:
        """Try again at once what failed for a moment, or leave it to the queue: one request a round."""

    def forget_refusals(self) -> None:
        """Ask again what was refused: something may have been mended."""

    def forget_permissions(self) -> None:
        """…and what is remembered over restarts: the settings changed, or an admin says so."""


@dataclass(frozen=True, slots=True)
class Relay:
    """By which mailbox every message leaves, as whom, in which form, and who reads local mail.

    `keeps_original` tells whether there is a kept/ for what is sent smaller; `credential` is its kind, and `ends` its end;
    `policy` says how fast mail goes.
    """

    mailbox: Mailbox
    sender: str
    book: AddressBook
    headers: bool = True
    save_to_sent_items: bool = False
    mime: bool = False
    keeps_original: bool = True
    credential: str = ""
    ends: date | None = None
    policy: Policy = ANY_PACE
