"""The sending mailbox at Graph: what comes of a mail. Nothing else makes an Outcome; nothing here raises for what Graph
answers."""

import base64
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from proxmox_graph_mail.errors import RequestError
from proxmox_graph_mail.graph.codes import NOT_PERMITTED, judge
from proxmox_graph_mail.graph.draft import NO_PERMISSION, send_by_draft
from proxmox_graph_mail.graph.outcome import REQUEST_TOO_LARGE, Outcome, Status
from proxmox_graph_mail.graph.permissions import MAIL_READ_BASIC, MAIL_READ_WRITE, Permissions
from proxmox_graph_mail.graph.request import Graph, json_object, request_id
from proxmox_graph_mail.message.mail import Attachment

SENT_WITHIN = 900.0  # seconds by which our clock and Exchange's may differ, and an uncertain request may have been on its way
SELECTED = "id,sentDateTime,toRecipients,ccRecipients,bccRecipients"


class SendingMailbox:
    """One mailbox, by its address. Safe for threads."""

    def __init__(self, graph: Graph, address: str, permissions: Permissions) -> None:
        self._graph = graph
        self._path = f"/users/{quote(address, safe='@')}"
        self._permissions = permissions

    def send(self, body: bytes) -> Outcome:
        """Send a request made by message.request_body; what came of it, after short retries."""
        return self._send_mail(body, "application/json")

    def send_mime(self, message: bytes) -> Outcome:
        """Send a message in its MIME form."""
        return self._send_mail(base64.b64encode(message), "text/plain")

    def send_large(self, message: dict[str, Any], files: Sequence[tuple[Attachment, bool]]) -> Outcome:
        """Send a message with `files` (and whether each is inline) by way of a draft.

        The codes NOT_WHOLE and REQUEST_TOO_LARGE say that it cannot be done (that the app lacks Mail.ReadWrite, and how much a
        request may have, is remembered), and nothing was sent.
        """
        if self._permissions.refused(MAIL_READ_WRITE):
            return NO_PERMISSION
        limit = self._permissions.request_limit()
        outcome = send_by_draft(self._graph, self._path, message, files, limit)
        if outcome is NO_PERMISSION:
            self._permissions.refuse(MAIL_READ_WRITE)
        if outcome.code == REQUEST_TOO_LARGE:
            self._permissions.too_large(limit)
        return outcome

    def request_limit(self) -> int:
        """Bytes that a request may have: what Graph takes, or less where one was too large within the last day."""
        return self._permissions.request_limit()

    def was_sent(self, message_id: str, recipients: Collection[str], at: float) -> Outcome | None:
        """Is a message with this Message-ID, to these recipients, in Sent Items, sent within SENT_WITHIN of `at` (seconds since
        the epoch)? SENT if so. A Message-ID alone proves nothing: whoever made it may have used it again, and others may know it.
        None if not, or where it cannot be known: the app lacks Mail.ReadBasic (remembered), or Graph does not answer this. Any
        other outcome would meet every request now."""
        if self._permissions.refused(MAIL_READ_BASIC):
            return None
        query = quote(f"internetMessageId eq '{message_id.replace(chr(39), chr(39) * 2)}'")
        path = f"{self._path}/mailFolders/sentitems/messages?$filter={query}&$select={SELECTED}"
        try:
            messages = json_object(self._graph.call("GET", path, expected=200)).get("value")
        except RequestError as error:
            if error.code in NOT_PERMITTED:
                self._permissions.refuse(MAIL_READ_BASIC)
                return None
            outcome = judge(error)
            return outcome if error.shared and outcome.status is Status.TRANSIENT else None
        wanted = {address.lower() for address in recipients}
        there = isinstance(messages, list) and any(_is_it(message, wanted, at) for message in messages)
        return Outcome(Status.SENT, "already in Sent Items (the earlier answer was unclear)") if there else None

    def probe(self) -> Outcome:
        """May the app send as this mailbox? SENT if so; nothing is sent: a message without recipients is refused either way."""
        outcome = self.send(b'{"message":{"subject":"check","toRecipients":[]}}')
        looked_at = outcome.code in ("ErrorInvalidRecipients", "UnableToDeserializePostBody", "RequestBodyRead")
        return Outcome(Status.SENT) if looked_at else outcome

    def be_patient(self, *, patient: bool) -> None:
        """Let requests from now on be tried again for some seconds, or not at all."""
        self._graph.patient = patient

    def forget_refusals(self) -> None:
        """Ask Entra and Graph again although they refused a moment ago."""
        self._graph.forget_refusal()

    def forget_permissions(self) -> None:
        """Try again what Graph did not permit."""
        self._permissions.forget()

    def _send_mail(self, body: bytes, kind: str) -> Outcome:
        try:
            return Outcome(
                Status.SENT, request_id=request_id(self._graph.call("POST", f"{self._path}/sendMail", body, kind=kind))
            )
        except RequestError as error:
            outcome = judge(error)
            if outcome.code == REQUEST_TOO_LARGE:
                self._permissions.too_large(len(body))
            return outcome


def _is_it(message: Any, recipients: set[str], at: float) -> bool:
    """Is this the message that went to these recipients about then? What is of another shape is not."""
    try:
        kinds = ("toRecipients", "ccRecipients", "bccRecipients")
        people = {str(one["emailAddress"]["address"]).lower() for kind in kinds for one in message.get(kind) or ()}
        sent = datetime.fromisoformat(message["sentDateTime"]).timestamp()
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return people == recipients and abs(sent - at) <= SENT_WITHIN
