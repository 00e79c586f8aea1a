"""`preview`: what Graph would get of a message, and why; nothing is sent."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from proxmox_graph_mail.admin.connection import address_book
from proxmox_graph_mail.delivery.attempt import prepared
from proxmox_graph_mail.delivery.digest import compose
from proxmox_graph_mail.errors import DataError, FileError
from proxmox_graph_mail.files import open_plain
from proxmox_graph_mail.graph.fitting import fit, fits, megabytes
from proxmox_graph_mail.graph.message import RECIPIENT_LIMIT, graph_message, sorted_attachments
from proxmox_graph_mail.graph.mime import MIME_LIMIT
from proxmox_graph_mail.graph.permissions import REQUEST_LIMIT
from proxmox_graph_mail.host import login_name
from proxmox_graph_mail.log import printable
from proxmox_graph_mail.message.mail import Mail
from proxmox_graph_mail.message.recipients import LOCAL_ROOT, AddressBook
from proxmox_graph_mail.rfc822.header import header_of, header_recipients
from proxmox_graph_mail.settings import load_visible
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.spool.lane import WORDS, lane_of
from proxmox_graph_mail.spool.store import Spool, is_id
from proxmox_graph_mail.submission import mailq

Source = Annotated[str, typer.Argument(metavar="[FILE|ID]", show_default=False)]

POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
)
"""The page may be any user's mail, and the browser an admin's: no script, and nothing is fetched."""


def preview(
    source: Source = "-",
    recipients: Annotated[list[str] | None, typer.Option("--to", help="Recipient to assume for a file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the Graph message.")] = False,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the reader's page; - is stdout.")] = None,
) -> None:
    """Show what Graph would get for a message in the queue, in a file or on standard input. Nothing is sent.

    Example: proxmox-graph-mail preview --to root report.eml
    """
    queue_id, envelope, data = _read(source, recipients or [])
    settings = load_visible()
    book = address_book(settings)
    content = _content(envelope, data, book)
    mail, people, circumstances = prepared(queue_id, envelope, content, book, settings.graph_sender, time.time())
    many = min(len(people), RECIPIENT_LIMIT)
    fitted = fit(mail, REQUEST_LIMIT, many)
    message = graph_message(fitted.mail, people, circumstances, notes=fitted.notes)
    if page is not None:
        text = POLICY + message["body"]["content"]
        if str(page) == "-":
            sys.stdout.write(text)
            return
        try:
            page.write_text(text, "utf-8")
        except OSError as error:
            raise FileError(f"cannot write {printable(str(page))}: {error.strerror}") from error
    if as_json:
        text = json.dumps(message, indent=1, ensure_ascii=False)
        # What turns text round, or ends a line, would make it look like another one.
        print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
        return
    rows = [*_summary(message), *_reasons(envelope, book)]
    rows += [("skipped", f"{one} is not a mail address") for one in people.invalid]
    rows += [("lane", _lane(envelope, data)), ("form", _form(mail, settings.mail_format, len(data), many)), ("body", _body(mail))]
    rows += [*_attached(mail), *(("smaller", note) for note in fitted.notes), *(("repaired", one) for one in mail.defects)]
    for name, value in rows:
        print(printable(f"{name + ':':<12}{value}"))


def _content(envelope: Envelope, data: bytes, book: AddressBook) -> bytes | Mail:
    """What is sent: a digest is made of its members."""
    made = compose(Spool(), envelope, book.host.name) if envelope.members else None
    return data if made is None else made.mail


def _lane(envelope: Envelope, data: bytes) -> str:
    root = Spool().root
    service = os.stat(root).st_uid if os.path.isdir(root) else os.geteuid()  # whoever owns the spool
    lane, why = lane_of(envelope, header_of(data[: 64 << 10]), service)
    return f"{lane.number}, {WORDS[lane]}: {why}"


def _reasons(envelope: Envelope, book: AddressBook) -> Iterator[tuple[str, str]]:
    """Which recipients resolve to other addresses."""
    for recipient in envelope.recipients:
        resolved, warnings = book.resolve(recipient)
        if resolved != (recipient,):
            names = ["Proxmox's notification system" if to == LOCAL_ROOT and book.hands_over_root else to for to in resolved]
            yield "resolves", f"{recipient} -> {', '.join(names)}"
        yield from (("warning", warning) for warning in warnings)


def _attached(mail: Mail) -> Iterator[tuple[str, str]]:
    inline, others = sorted_attachments(mail)
    for word, attachments in (("inline", inline), ("attached", others)):
        for attachment in attachments:
            yield word, f"{attachment.name} ({attachment.content_type}, {megabytes(len(attachment.content))})"


def _read(source: str, recipients: list[str]) -> tuple[str, Envelope, bytes]:
    """Queue ID, envelope and bytes of a message in the spool, a file or standard input."""
    if is_id(source):
        spool = Spool()
        mailq.require_access(spool)
        path = spool.locate(source)
        if path is None:
            raise DataError(f"{source}: no such message; proxmox-graph-mail queue list shows them")
        with open(open_plain(path), "rb") as file:
            return source, decode(file.readline(LINE_LIMIT)), file.read()
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {printable(source)}: {error.strerror}; it is a file, a queue ID or - for standard input"
        ) from error
    to = tuple(recipients or dict.fromkeys(header_recipients(data[: 4 << 20])) or ["root"])
    uid = os.getuid()
    return "0" * 18, Envelope(sender=login_name(uid), recipients=to, uid=uid, arrived=time.time()), data


def _summary(message: dict[str, Any]) -> list[tuple[str, str]]:
    def people(key: str) -> str:
        addresses = [person["emailAddress"] for person in message.get(key, [])]
        return ", ".join(f"{one['name']} <{one['address']}>" if one.get("name") else one["address"] for one in addresses)

    sender = message["from"]["emailAddress"]
    rows = [("subject", message["subject"]), ("from", f"{sender['name']} <{sender['address']}>")]
    rows += [
        (word, people(key))
        for word, key in (("to", "toRecipients"), ("cc", "ccRecipients"), ("bcc", "bccRecipients"), ("reply to", "replyTo"))
        if key in message
    ]
    return rows


def _form(mail: Mail, mail_format: str, size: int, many: int) -> str:
    if (mail.sealed or mail_format == "mime") and size <= MIME_LIMIT:
        return f"MIME, its own bytes ({'signed or encrypted' if mail.sealed else 'MAIL_FORMAT=mime'})"
    if fits(mail, REQUEST_LIMIT, many):
        return "JSON, in one request"
    return "a draft with uploaded attachments, where the app has Mail.ReadWrite; else smaller, as below"


def _body(mail: Mail) -> str:
    if mail.html is not None:
        return f"HTML, {megabytes(len(mail.html))}, as it was written{' (its plain text is left out)' if mail.text else ''}"
    return f"plain text, {megabytes(len(mail.text or ''))}, shown as a terminal would"
