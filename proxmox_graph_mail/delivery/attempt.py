"""One attempt to deliver one message: read → parse → recipients → batches → outcome.

The message on disk is only read here; what becomes of it is the runner's to settle. Root's part of it is root_mail/'s.
"""

import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime

from proxmox_graph_mail.delivery.credential_end import footer
from proxmox_graph_mail.delivery.digest import compose
from proxmox_graph_mail.delivery.form import PARSE_LIMIT, Form, own_bytes
from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.errors import ConfinedError, DataError, SpoolError
from proxmox_graph_mail.graph.fitting import fits
from proxmox_graph_mail.graph.message import RECIPIENT_LIMIT, Circumstances, message_id
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.host import login_name
from proxmox_graph_mail.message.confined import taken_apart
from proxmox_graph_mail.message.mail import Mail, Mailbox
from proxmox_graph_mail.message.recipients import AddressBook, Recipients, recipients
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.spool.journal import NEW, History
from proxmox_graph_mail.spool.store import Spool

BEGINNING = 1 << 20  # bytes that are read of what is larger than PARSE_LIMIT


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of an attempt. `sent_to` are addresses that have the mail now, by this or an earlier attempt; `unclear` those of
    the request whose answer was unclear; `reduced` tells that they have less than was submitted, so that the original is kept.
    `subject`, `size` (bytes) and `uid` are for the record; `taken_by` is empty for Graph, else who took it in its
    place. `left_out` are members of a digest that it does not hold."""

    outcome: Outcome
    arrived: float = 0.0
    to: tuple[str, ...] = ()
    _: KW_ONLY
    sent_to: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reduced: bool = False
    subject: str = ""
    size: int = 0
    uid: int = -1
    taken_by: str = ""
    left_out: tuple[str, ...] = ()


def attempt(
    spool: Spool, queue_id: str, relay: Relay, history: History = NEW, clock: Callable[[], float] = time.time
) -> Delivery:  # fmt: skip
    """Try to send a message to whom its history does not say that they have it. Raises FileNotFoundError if it is gone."""
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
    try:
        if envelope.members:
            return _send_digest(spool, queue_id, envelope, relay, history, clock())
        return send(queue_id, envelope, data, size, relay, history, clock())
    except ConfinedError as error:
        return Delivery(Outcome(Status.TRANSIENT, str(error), "Confined"), envelope.arrived)


def _send_digest(spool: Spool, queue_id: str, envelope: Envelope, relay: Relay, history: History, now: float) -> Delivery:
    """Send one mail for many; if it cannot be made, that is the digest's failure, and its members go by themselves."""
    try:
        made = compose(spool, envelope, relay.book.host.name)
    except (ConfinedError, SpoolError, OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        return Delivery(Outcome(Status.FAILED, f"the digest cannot be made ({type(error).__name__})", "DigestFailed"))
    if made is None:
        return Delivery(Outcome(Status.FAILED, "none of the digest's members is left", "DigestEmpty"))
    delivery = send(queue_id, envelope, made.mail, 0, relay, history, now)
    return replace(delivery, left_out=envelope.members if delivery.reduced else made.left_out)


def prepared(
    queue_id: str, envelope: Envelope, data: bytes | Mail, book: AddressBook, sender: str, now: float
) -> tuple[Mail, Recipients, Circumstances]:  # fmt: skip
    """What a message says (`data`: its bytes, or what was taken apart), who gets it, and what its Graph message is made of
    besides."""
    mail = taken_apart(data) if isinstance(data, bytes) else data
    user = login_name(envelope.uid)
    if mail.sender is None:
        mail = replace(mail, sender=Mailbox(envelope.full_name, envelope.sender or user))
    people = recipients(envelope.recipients, mail, book)
    circumstances = Circumstances(
        queue_id, envelope.arrived, now, book.host, sender, user, envelope.full_name, nonce=envelope.nonce
    )  # fmt: skip
    return mail, people, circumstances


def send(
    queue_id: str, envelope: Envelope, data: bytes | Mail, size: int, relay: Relay, history: History, now: float
) -> Delivery:  # fmt: skip
    """Send a message to those of its recipients who do not have it yet."""
    mail, people, circumstances = prepared(queue_id, envelope, data, relay.book, relay.sender, now)
    line = footer(relay.credential, relay.ends, datetime.fromtimestamp(now).date(), circumstances.host.name)
    raw = own_bytes(mail, data, size, mime=relay.mime) if isinstance(data, bytes) else b""
    form = Form(mail, raw, size, replace(circumstances, footer=line), relay)
    to = people.addresses()
    base = Delivery(
        Outcome(Status.SENT), envelope.arrived, to,
        warnings=people.warnings, subject=mail.subject, size=size, uid=envelope.uid,
    )  # fmt: skip
    if not to:
        reason = f"no recipient is a mail address: {' '.join(people.invalid)[:200]}"
        return replace(base, outcome=Outcome(Status.FAILED, reason, "NoRecipient"), to=people.invalid)
    known = set(history.sent_to)
    in_sent_items = _sent_items(form, history)
    if in_sent_items is not None:
        base = replace(base, outcome=in_sent_items)
        if in_sent_items.status is not Status.SENT:
            return base
        known.update(history.unclear)  # that request reached them; whoever else there is still waits
    return _send_to_all(form, people, known, base)


def _sent_items(form: Form, history: History) -> Outcome | None:
    """After an unclear answer, where sent mail is saved: SENT if it is there, another outcome if nothing can be asked now. None
    where it is not there, or there is nothing to be learnt: of several messages with one Message-ID, which one it is."""
    saved = form.relay.save_to_sent_items or bool(form.raw)
    if not saved or not history.unclear or history.sent_to:
        return None
    return form.relay.mailbox.was_sent(message_id(form.mail, form.circumstances), history.unclear, history.unclear_at)


def _send_to_all(form: Form, people: Recipients, known: set[str], base: Delivery) -> Delivery:
    """Send to those not `known` to have it, in batches; what came of it.

    Where Graph refuses a recipient it names none, and one bad address must not cost the others their mail: the batch is halved
    until it is alone.
    """
    sent = [address for address in base.to if address in known]
    # Of those who have it already it is not known in which form: then the original is kept, if it may have been smaller.
    outcome, reduced = base.outcome, bool(known) and not fits(form.mail, form.relay.mailbox.request_limit())
    refused: list[str] = []
    unclear: tuple[str, ...] = ()
    why = "that is not a mail address"
    waiting = _batches(people, known)
    while waiting and outcome.status is Status.SENT:
        batch = waiting.pop(0)
        outcome, fitted = form.send(batch)
        if outcome.status is Status.FAILED and outcome.code == "ErrorInvalidRecipients" and len(base.to) > 1:
            if len(batch) > 1:
                waiting[:0] = _batches(batch, set(), (len(batch) + 1) // 2)
            else:
                refused += batch.addresses()
                why = outcome.reason
            outcome = base.outcome
        elif outcome.status is Status.SENT:
            reduced = reduced or bool(fitted.notes)
            sent += batch.addresses()
        elif outcome.status is Status.UNCERTAIN:
            unclear = batch.addresses()
    if outcome.status is Status.SENT and (missed := (*people.invalid, *refused)):
        reason = f"sent to {' '.join(sent)[:200] or 'nobody'}, but not to {' '.join(missed)[:200]}: {why}"
        outcome = Outcome(Status.FAILED, reason, "InvalidRecipient", request_id=outcome.request_id)
    return replace(base, outcome=outcome, sent_to=tuple(sent), unclear=unclear, reduced=reduced)


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
