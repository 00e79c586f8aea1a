"""In which form some of a message's recipients get it: its own MIME bytes, one JSON request, a draft, or smaller than it was."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.graph.fitting import Fitted, beginning, fit, fit_body, fits, megabytes
from proxmox_graph_mail.graph.message import Circumstances, graph_message, request_body, sorted_attachments
from proxmox_graph_mail.graph.mime import MIME_LIMIT, mime_form
from proxmox_graph_mail.graph.outcome import NOT_WHOLE, REQUEST_TOO_LARGE, Outcome, Status
from proxmox_graph_mail.graph.permissions import REQUEST_LIMIT
from proxmox_graph_mail.message.mail import Mail
from proxmox_graph_mail.message.recipients import Recipients
from proxmox_graph_mail.rfc822.header import start_of_message
from proxmox_graph_mail.spool.store import KEPT_AGE

MIME_REFUSED = (
    "ErrorMimeContentInvalid", "ErrorMimeContentConversionFailed", "ErrorMimeContentInvalidBase64String",
    "UnableToDeserializePostBody", "ErrorInvalidRecipients", "RequestBodyRead",
)  # fmt: skip
"""Codes by which Graph refuses a message in its MIME form that it may take as JSON."""
PARSE_LIMIT = 210 << 20  # bytes of a message that is taken apart whole: the 150 MB that a mailbox may send at most, in base64


@dataclass(frozen=True, slots=True)
class Form:
    """A message on its way to Graph: what it says, its own bytes where the MIME form is wanted (else empty), its size in the
    queue, and what it does not say itself."""

    mail: Mail
    raw: bytes
    size: int
    circumstances: Circumstances
    relay: Relay

    def send(self, people: Recipients) -> tuple[Outcome, Fitted]:
        """Send to some of the recipients; what came of it, and what was sent: whole if that can be, else smaller."""
        otherwise = ""
        if self.raw and len(self.raw) * 4 // 3 <= self._limit():
            outcome, otherwise = self._send_mime(people)
            if outcome is not None:
                return outcome, Fitted(self.mail)
        elif self.relay.mime or self.mail.sealed:
            otherwise = "too large for the MIME form, sent in the JSON form"
        if self.size > PARSE_LIMIT:
            return self._send_small(people, beginning(self.mail, self.size), otherwise)
        if fits(self.mail, self._limit(), len(people)):
            outcome, fitted = self._send_small(people, Fitted(self.mail), otherwise)
            if outcome.code != REQUEST_TOO_LARGE:
                return outcome, fitted
        outcome, fitted = self._smaller_and_smaller(lambda: self._send_large(people, otherwise))
        if outcome.code not in (NOT_WHOLE, REQUEST_TOO_LARGE):
            return outcome, fitted
        said = "; ".join(word for word in (otherwise, outcome.reason) if word)
        return self._smaller_and_smaller(lambda: self._send_small(people, fit(self.mail, self._limit(), len(people)), said))

    def _smaller_and_smaller(self, send: Callable[[], tuple[Outcome, Fitted]]) -> tuple[Outcome, Fitted]:
        """Send, and again as long as a request was too large and the limit that was learnt allows a smaller one."""
        while True:
            limit = self._limit()
            outcome, fitted = send()
            if outcome.code != REQUEST_TOO_LARGE or self._limit() >= limit:
                return outcome, fitted

    def _limit(self) -> int:
        return self.relay.mailbox.request_limit()

    def _send_mime(self, people: Recipients) -> tuple[Outcome | None, str]:
        """In its own bytes; what came of it. None where they do not do, and why."""
        try:
            form = mime_form(self.raw, self.mail, people, self.circumstances)
        except (ValueError, LookupError, TypeError, AttributeError, IndexError):
            form = None  # whatever is odd in it, the JSON form takes it
        if form is None:
            return None, "sent in the JSON form, because its header or an address has no MIME form"
        outcome = self.relay.mailbox.send_mime(form)
        if outcome.code == REQUEST_TOO_LARGE or (outcome.status is Status.FAILED and outcome.code in MIME_REFUSED):
            return None, f"sent in the JSON form, because Graph refused the MIME form ({outcome.code})"
        return outcome, ""

    def _send_large(self, people: Recipients, otherwise: str) -> tuple[Outcome, Fitted]:
        """By way of a draft, with all its attachments."""
        fitted = fit_body(self.mail, self._limit(), len(people))
        inline, others = sorted_attachments(fitted.mail)
        files = [*((attachment, True) for attachment in inline), *((attachment, False) for attachment in others)]
        message = self._graph_message(Fitted(replace(fitted.mail, attachments=()), fitted.notes), people)
        return self._told(self.relay.mailbox.send_large(message, files), fitted, otherwise), fitted

    def _send_small(self, people: Recipients, fitted: Fitted, otherwise: str) -> tuple[Outcome, Fitted]:
        """In one request."""
        body = request_body(self._graph_message(fitted, people), save_to_sent_items=self.relay.save_to_sent_items)
        return self._told(self.relay.mailbox.send(body), fitted, otherwise), fitted

    def _graph_message(self, fitted: Fitted, people: Recipients) -> dict[str, object]:
        notes = self._notes(fitted)
        return graph_message(fitted.mail, people, self.circumstances, headers=self.relay.headers, notes=notes)

    def _told(self, outcome: Outcome, fitted: Fitted, otherwise: str) -> Outcome:
        """The outcome, with what was sent smaller, or otherwise than it was asked for, in its reason."""
        if outcome.status is not Status.SENT:
            return outcome
        kept = (f"The original is kept as {self.circumstances.queue_id}",) if self.relay.keeps_original else ()
        smaller = (*fitted.notes, *kept) if fitted.notes else ()
        said = " ".join(word for word in (outcome.reason, *smaller) if word)
        return replace(outcome, reason="; ".join(word for word in (said, otherwise) if word))

    def _taker(self) -> str:
        limit = self._limit()
        if limit == REQUEST_LIMIT:
            return "Microsoft Graph takes"
        return f"the way to Microsoft Graph takes ({megabytes(limit)} a request)"

    def _notes(self, fitted: Fitted) -> tuple[str, ...]:
        """What the reader of a mail that was made smaller is told."""
        if not fitted.notes:
            return ()
        host, queue_id = self.circumstances.host.name, self.circumstances.queue_id
        where = f"The original is kept on {host} for {KEPT_AGE // 86400} days: proxmox-graph-mail queue save {queue_id} FILE"
        kept = (where,) if self.relay.keeps_original else ()
        return (f"This mail ({megabytes(self.size)}) is larger than {self._taker()}.", *fitted.notes, *kept)


def own_bytes(mail: Mail, data: bytes, size: int, *, mime: bool) -> bytes:
    """The bytes of a message that is to go in its MIME form; empty for others."""
    return data[start_of_message(data) :] if (mime or mail.sealed) and size <= MIME_LIMIT else b""
