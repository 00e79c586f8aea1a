"""One attempt to deliver one message: read → parse → recipients → Graph message → sendMail → outcome.

The message on disk is only read here; what becomes of it is the runner's to settle.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Protocol

from proxmox_graph_mail.delivery.expiry import footer
from proxmox_graph_mail.delivery.root_mail import ASKED, HANDED, given_up, in_circle
from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.graph.fitting import Fitted, beginning, fit, fit_body, fits, megabytes
from proxmox_graph_mail.graph.message import (
    RECIPIENT_LIMIT,
    REQUEST_LIMIT,
    Circumstances,
    graph_message,
    message_id,
    request_body,
    sorted_attachments,
)
from proxmox_graph_mail.graph.mime import MIME_LIMIT, mime_form
from proxmox_graph_mail.graph.outcome import NOT_WHOLE, Outcome, Status
from proxmox_graph_mail.message.mail import Attachment, Mail, Mailbox
from proxmox_graph_mail.message.parse import parse
from proxmox_graph_mail.message.recipients import Directory, Recipients, recipients
from proxmox_graph_mail.spool import KEPT_AGE, Spool
from proxmox_graph_mail.submission import forwarding
from proxmox_graph_mail.submission.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.submission.header import start_of_message
from proxmox_graph_mail.submission.login import login_name

MIME_REFUSED = (
    "ErrorMimeContentInvalid", "ErrorMimeContentConversionFailed", "ErrorMimeContentInvalidBase64String",
    "UnableToDeserializePostBody", "ErrorInvalidRecipients", "RequestBodyRead",
)  # fmt: skip
"""Codes by which Graph refuses a message in its MIME form that it may take as JSON."""
PARSE_LIMIT = 210 << 20
"""Bytes of a message that is taken apart whole: the 150 MB that a mailbox may send at most, in base64."""
BEGINNING = 1 << 20
"""Bytes that are read of anything larger."""


class Mailer(Protocol):
    """What sends a request: graph.client.GraphClient, or a test's."""

    def send_mail(self, mailbox: str, body: bytes) -> Outcome:
        """Send, and say what came of it."""

    def send_mime(self, mailbox: str, message: bytes) -> Outcome:
        """Send a message in its MIME form."""

    def send_large(self, mailbox: str, message: dict[str, Any], files: Sequence[tuple[Attachment, bool]]) -> Outcome:
        """Send a message with files, by a way that takes any size; the code NOT_WHOLE says that there is none."""

    def was_sent(self, mailbox: str, message_id: str) -> bool:
        """Is the message in Sent Items, as far as that can be known?"""

    def forget_refusals(self) -> None:
        """Ask again what was refused: something may have been mended."""

    def forget_permissions(self) -> None:
        """…and what is remembered over restarts: the settings changed, or an admin says so."""


@dataclass(frozen=True, slots=True)
class Route:
    """What the settings say about every message: who sends it, as whom, in which form, and who reads local mail.
    `keeps_original` tells whether there is a kept/ for what is sent smaller; `credential` is its kind,
    and `ends` its end."""

    mailer: Mailer
    sender: str
    directory: Directory
    headers: bool = True
    save_to_sent_items: bool = False
    mime: bool = False
    keeps_original: bool = True
    credential: str = ""
    ends: date | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of an attempt. `sent_to` are addresses that have the mail now, by this or an earlier attempt; `reduced` tells
    that they have less than was handed in, so that the original is kept. `subject`, `size` (bytes)
    and `uid` are for the record."""

    outcome: Outcome
    arrived: float = 0.0
    to: tuple[str, ...] = ()
    sent_to: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    reduced: bool = False
    subject: str = ""
    size: int = 0
    uid: int = -1


def attempt(
    spool: Spool, queue_id: str, route: Route, done: Sequence[str] = (), clock: Callable[[], float] = time.time,
    *, uncertain: bool = False, forwarded: tuple[str, float] = ("", 0.0),
) -> Delivery:  # fmt: skip
    """Try to send a message; `done` are addresses that got it before, `uncertain` says that the last attempt may have sent it,
    `forwarded` how far its hand-over to Proxmox's notification system came, and when.

    Raises FileNotFoundError if it is gone.
    """
    try:
        with open(spool.open(queue_id), "rb") as file:
            envelope = decode(file.readline(LINE_LIMIT))
            size = os.fstat(file.fileno()).st_size
            data = file.read() if size <= PARSE_LIMIT else file.read(BEGINNING)
    except (DataError, SpoolError) as error:  # other errors are the disk's or the kernel's, and pass
        return Delivery(Outcome(Status.FAILED, f"the file in the queue is damaged: {error}", "Damaged"))
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        return Delivery(Outcome(Status.TRANSIENT, f"cannot read the file in the queue: {error.strerror}", "Unreadable"))
    if route.directory.forward and (
        given_up(forwarded, clock()) or in_circle(envelope, data, route.directory.host, os.stat(spool.root).st_uid)
    ):
        route = replace(route, directory=replace(route.directory, forward=False))
    delivery, subject = send(queue_id, envelope, data, size, route, done, clock(), uncertain=uncertain)
    return replace(delivery, subject=subject, size=size, uid=envelope.uid)


def prepared(
    queue_id: str, envelope: Envelope, data: bytes, directory: Directory, sender: str, now: float
) -> tuple[Mail, Recipients, Circumstances]:  # fmt: skip
    """What a message says, who gets it, and what its Graph message is made of besides."""
    mail = parse(data)
    user = login_name(envelope.uid)
    if mail.sender is None:
        mail = replace(mail, sender=Mailbox(envelope.full_name, envelope.sender or user))
    people = recipients(envelope.recipients, mail, directory)
    return mail, people, Circumstances(queue_id, envelope.arrived, now, directory.host, sender, user, envelope.full_name)


def send(
    queue_id: str, envelope: Envelope, data: bytes, size: int, route: Route, done: Sequence[str], now: float, *, uncertain: bool
) -> tuple[Delivery, str]:  # fmt: skip
    """Send a message to those of its recipients who are not `done`; what came of it, and its subject."""
    mail, people, at = prepared(queue_id, envelope, data, route.directory, route.sender, now)
    today = datetime.fromtimestamp(now).date()
    at = replace(at, footer=footer(route.credential, route.ends, today, at.host.name))
    raw = data[start_of_message(data) :] if (route.mime or mail.sealed) and size <= MIME_LIMIT else b""
    del data  # it may be most of our memory
    to = people.addresses()
    known = set(done)
    if people.root and forwarding.LOCAL_ROOT not in known:
        # First of all: a target of Proxmox's may work where Graph does not.
        return Delivery(ASKED, envelope.arrived, (forwarding.LOCAL_ROOT, *to), tuple(done), people.warnings), mail.subject
    if people.root and not to and not people.invalid:
        return Delivery(HANDED, envelope.arrived, (forwarding.LOCAL_ROOT,), tuple(done), people.warnings), mail.subject
    if not to:
        reason = f"no recipient is a mail address: {' '.join(people.invalid)[:200]}"
        nobody = Outcome(Status.FAILED, reason, "NoRecipient")
        return Delivery(nobody, envelope.arrived, people.invalid, (), people.warnings), mail.subject
    sent = [address for address in to if address in known]
    # Of those who have it already (done) it is not known in which form: then the original is kept, if it may have been smaller.
    outcome, reduced = Outcome(Status.SENT), bool(done) and not fits(mail, REQUEST_LIMIT)
    if (
        uncertain and not done and len(to) <= RECIPIENT_LIMIT  # else one Message-ID went out in several messages
        and (route.save_to_sent_items or raw) and route.mailer.was_sent(route.sender, message_id(mail, at))
    ):  # fmt: skip
        found = Outcome(Status.SENT, "found in Sent Items, after an unclear answer")
        smaller = not fits(mail, REQUEST_LIMIT)
        return Delivery(found, envelope.arrived, to, to, people.warnings, smaller), mail.subject
    refused: list[str] = []
    why = "that is no mail address"
    waiting = _batches(people, set(sent))
    while waiting:
        batch = waiting.pop(0)
        outcome, fitted = _send_batch(mail, raw, batch, at, route, size)
        if outcome.status is Status.FAILED and outcome.code == "ErrorInvalidRecipients" and len(to) > 1:
            # Graph names none of them, and one bad address must not cost the others their mail: halve until it is alone.
            if len(batch) > 1:
                waiting[:0] = _batches(batch, set(), (len(batch) + 1) // 2)
            else:
                refused += batch.addresses()
                why = outcome.reason
            outcome = Outcome(Status.SENT)
            continue
        reduced = reduced or bool(fitted.notes)
        if outcome.status is not Status.SENT:
            break
        sent += batch.addresses()
    if outcome.status is Status.SENT and (missed := (*people.invalid, *refused)):
        reason = f"sent to {' '.join(sent)[:200] or 'nobody'}, but not to {' '.join(missed)[:200]}: {why}"
        outcome = Outcome(Status.FAILED, reason, "InvalidRecipient", request_id=outcome.request_id)
    return Delivery(outcome, envelope.arrived, to, tuple(sent), people.warnings, reduced), mail.subject


def _send_batch(
    mail: Mail, raw: bytes, batch: Recipients, at: Circumstances, route: Route, size: int
) -> tuple[Outcome, Fitted]:  # fmt: skip
    """Send to some of the recipients: in MIME form where there is `raw`, and Graph takes it; whole if that can be, else smaller.

    What came of it, and what was sent.
    """
    many = len(batch)
    remedy = "too large for the MIME form, sent in the JSON form" if not raw and (route.mime or mail.sealed) else ""
    if raw and (form := mime_form(raw, mail, batch, at)) is not None:
        outcome = route.mailer.send_mime(route.sender, form)
        if outcome.status is not Status.FAILED or outcome.code not in MIME_REFUSED:
            return outcome, Fitted(mail)
        remedy = f"sent in the JSON form, for Graph refused the MIME form ({outcome.code})"
    elif raw:
        remedy = "sent in the JSON form, for its header is none of MIME's"
    if size > PARSE_LIMIT:
        fitted = beginning(mail, size)
    elif fits(mail, REQUEST_LIMIT, many):
        fitted = Fitted(mail)
    else:
        fitted = fit_body(mail, REQUEST_LIMIT, many)
        inline, others = sorted_attachments(fitted.mail)
        files = [*((attachment, True) for attachment in inline), *((attachment, False) for attachment in others)]
        shell = replace(fitted.mail, attachments=())
        message = graph_message(shell, batch, at, headers=route.headers, notes=_notes(fitted, size, at, route))
        outcome = route.mailer.send_large(route.sender, message, files)
        if outcome.code != NOT_WHOLE:
            return _told(outcome, fitted, at, route), fitted
        remedy = "; ".join(word for word in (remedy, outcome.reason) if word)
        fitted = fit(mail, REQUEST_LIMIT, many)
    message = graph_message(fitted.mail, batch, at, headers=route.headers, notes=_notes(fitted, size, at, route))
    outcome = route.mailer.send_mail(route.sender, request_body(message, save_to_sent_items=route.save_to_sent_items))
    return _told(outcome, fitted, at, route, remedy), fitted


def _told(outcome: Outcome, fitted: Fitted, at: Circumstances, route: Route, remedy: str = "") -> Outcome:
    """The outcome, with what was sent smaller, or otherwise than it was asked for, in its reason."""
    if outcome.status is not Status.SENT:
        return outcome
    kept = (f"The original is kept as {at.queue_id}",) if route.keeps_original else ()
    smaller = (*fitted.notes, *kept) if fitted.notes else ()
    said = " ".join(word for word in (outcome.reason, *smaller) if word)
    return replace(outcome, reason="; ".join(word for word in (said, remedy) if word))


def _notes(fitted: Fitted, size: int, at: Circumstances, route: Route) -> tuple[str, ...]:
    """What the reader of a mail that was made smaller is told."""
    if not fitted.notes:
        return ()
    where = (
        f"The original is kept on {at.host.name} for {KEPT_AGE // 86400} days: proxmox-graph-mail queue save {at.queue_id} FILE"
    )
    kept = (where,) if route.keeps_original else ()
    return (f"This mail ({megabytes(size)}) is larger than Microsoft Graph takes.", *fitted.notes, *kept)


def _batches(people: Recipients, done: set[str], limit: int = RECIPIENT_LIMIT) -> list[Recipients]:
    """The recipients without those done, in messages of at most `limit`."""
    left = [
        (kind, mailbox)
        for kind, mailboxes in (("to", people.to), ("cc", people.cc), ("bcc", people.bcc))
        for mailbox in mailboxes
        if mailbox.address not in done
    ]
    batches = []
    for start in range(0, len(left), limit):
        part = left[start : start + limit]
        batches.append(
            Recipients(**{kind: tuple(m for k, m in part if k == kind) for kind in ("to", "cc", "bcc")})  # type: ignore[arg-type]
        )
    return batches
