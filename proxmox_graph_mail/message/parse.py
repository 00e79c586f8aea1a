"""Bytes → Mail: the standard library's parser, and what it gets wrong.

Repaired here, each because a program of a Proxmox host does it: mbox lines before the header (mail piped by
Postfix), a charset that continues the wrong header (PVE::Tools), a wrong or missing charset (mail(1) in the C
locale), encoded words of any length (proxmox-sendmail), `From: root (Cron Daemon)` (cron), raw UTF-8 in headers
(bsd-mailx), bare CR (progress bars), NUL, and no From, Date or Message-ID at all.
parts.py sorts what it finds into body and attachments.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from email.errors import MessageError, StartBoundaryNotFoundDefect
from email.feedparser import BytesFeedParser
from email.policy import Compat32
from email.utils import parsedate_to_datetime

from proxmox_graph_mail.message import charset
from proxmox_graph_mail.message.bounds import exceeded
from proxmox_graph_mail.message.content import Part
from proxmox_graph_mail.message.mail import Attachment, Mail, Mailbox
from proxmox_graph_mail.message.parts import MAX_DEPTH, Contents, only_cited_inline, show_what_there_is, walk
from proxmox_graph_mail.rfc822.addresses import mailboxes
from proxmox_graph_mail.rfc822.header import section_end, start_of_message, well_formed, written_fields

PIECE = 1 << 16
OUTLINE, OUTLINE_FIELDS, LONGEST_FIELD = 64 << 10, 200, 4096
"""Bytes of the header that are looked at of a message that is only outlined; fields of it, and bytes of each."""
_TELLING = re.compile(rb"(?:from|to|cc|reply-to|subject|date|message-id|importance|x-priority|priority)[ \t]*:", re.IGNORECASE)
PARAMETER_LIMIT = 4096  # characters read of a header with parameters: the standard library takes quadratic time over them


class _Policy(Compat32):
    """compat32, but a header with raw 8-bit bytes is read as UTF-8 or Latin-1 instead of becoming replacement characters."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        if name.lower() in ("content-type", "content-disposition"):
            # Unfolded: a boundary or a name may be folded inside of its quotes.
            value = value[:PARAMETER_LIMIT].replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", "\t")
        return charset.raw_header(value)


_POLICY = _Policy()

_BARE_CR = re.compile(rb"\r(?!\n)")
_MESSAGE_ID = re.compile(r"<[^<>\s@]+@[^<>\s@]+>")
_SEALED = ("multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")

_RAISED = (MessageError, RecursionError, ValueError, LookupError, TypeError, AttributeError, IndexError, AssertionError)


def parse(data: bytes) -> Mail:
    """Take a message apart. Never raises, whatever the bytes are."""
    if reason := exceeded(data[start_of_message(data) :]):
        return outline(data, reason)
    contents = Contents()
    try:
        message = _message(_clean_header(data[start_of_message(data) :], contents))
        contents.defects += [f"{type(defect).__name__}" for defect in message.defects]
        walk(message, contents)
        show_what_there_is(contents)
        if _closed_before_it_began(message, data):
            body = data[start_of_message(data) :]
            body = body[sum(map(len, written_fields(body[: section_end(body)[0]]))) :]
            contents.texts.append(charset.decode(body, None)[0].replace("\r\n", "\n"))
            contents.defects.append("a multipart ends before it begins; shown as it is written")
        if contents.too_many:
            return outline(data, "it has too many parts")
    except (
        MessageError,
        RecursionError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        IndexError,
        AssertionError,
    ) as error:
        # The standard library's parser has raised each of these on some mail. Then the mail is its own text.
        contents = Contents()
        contents.defects.append(f"the parser gave up ({type(error).__name__}); shown as plain text")
        text, _ = charset.decode(data[start_of_message(data) :], None)
        contents.texts = [text]
        message = Part()
    return _mail(message, contents)


def _closed_before_it_began(message: Part, data: bytes) -> bool:
    """Is there a multipart whose last boundary comes without a first? The standard library's parser drops what is behind it."""
    return any(
        isinstance(defect, StartBoundaryNotFoundDefect)
        and f"--{part.get_boundary()}--".encode("utf-8", "surrogateescape") in data
        for part in message.walk()
        for defect in part.defects
    )


def outline(data: bytes, reason: str) -> Mail:
    """What is said of a message that is not taken apart: who and what about, by the beginning of its header."""
    data = data[start_of_message(data) :]
    beginning = data[: min(section_end(data)[0], OUTLINE)]
    fields = [field for field in written_fields(beginning)[:OUTLINE_FIELDS] if _TELLING.match(field)]
    contents = Contents()
    message = _message(_clean_header(b"".join(field[:LONGEST_FIELD].rstrip() + b"\n" for field in fields) + b"\n", contents))
    contents.texts = [f"This mail is not shown here: {reason}. It is attached as it was submitted.\n"]
    contents.defects.append(f"not taken apart: {reason}")
    contents.attachments = [Attachment(name="message.eml", content_type="application/octet-stream", content=data)]
    return _mail(message, contents)


def _message(data: bytes) -> Part:
    """The standard library's parser, fed piece by piece: handed the whole, it makes a copy of four bytes a character."""
    parser: BytesFeedParser[Part] = BytesFeedParser(policy=_POLICY)
    for at in range(0, len(data), PIECE):
        parser.feed(data[at : at + PIECE])
    return parser.close()


def _clean_header(data: bytes, contents: Contents) -> bytes:
    """The header as the standard library's parser understands it: bare CRs and NULs become blanks (it would take a CR for a line
    end, and so a forged field), the blank before a colon goes, a forgotten fold is folded. A line that would continue a field,
    and has none before it, is text."""
    head = data[: section_end(data)[0]]
    clean = _BARE_CR.sub(b" ", head).replace(b"\0", b" ") if b"\r" in head or b"\0" in head else head
    if clean != head:
        contents.defects.append("bare CR or NUL in the header; read as blanks")
    begin = 0
    while clean[begin : begin + 1] in (b" ", b"\t"):
        begin = clean.find(b"\n", begin) + 1 or len(clean)
    if begin and (lost := clean[:begin]).strip():
        contents.texts.append(charset.decode(lost, None)[0].replace("\r\n", "\n"))
        contents.defects.append("a continuation line before the first field; shown as text")
    clean = clean[begin:]
    if b" :" in clean or b"\t:" in clean or b"\n=?" in clean:
        fields = written_fields(clean)
        rest = clean[sum(map(len, fields)) :]
        clean = b"".join([well_formed(field) for field in fields]) + rest
    return data if clean == head else clean + data[len(head) :]


def _mail(message: Part, contents: Contents) -> Mail:
    headers = tuple(_headers(message))

    def first(name: str) -> str:
        return next((value for key, value in headers if key.lower() == name), "")

    def people(name: str) -> tuple[Mailbox, ...]:
        values = [str(value) for key, value in message.items() if key.lower() == name]
        return tuple(
            Mailbox(_one_line(charset.words(display)), _one_line(address))
            for value in values
            for display, address in mailboxes(charset.unfold(value))
        )

    senders = people("from")
    texts = contents.alternatives if contents.htmls else contents.alternatives + contents.texts
    message_ids = _MESSAGE_ID.findall(first("message-id"))
    return Mail(
        subject=first("subject").strip(),
        sender=_author(senders),
        reply_to=people("reply-to"),
        to=people("to"),
        cc=people("cc"),
        date=_date(first("date")),
        message_id=message_ids[0] if message_ids else "",
        in_reply_to=" ".join(_MESSAGE_ID.findall(first("in-reply-to"))),
        references=" ".join(_MESSAGE_ID.findall(first("references"))),
        importance=_importance(first),
        text="\n".join(texts) if texts else None,
        html=contents.htmls[0] if contents.htmls else None,
        prepended=tuple(contents.texts[: contents.before]) if contents.htmls else (),
        appended=tuple(contents.texts[contents.before :]) if contents.htmls else (),
        attachments=only_cited_inline(contents),
        sealed=_is_sealed(message),
        headers=headers,
        defects=tuple(dict.fromkeys(contents.defects)),
    )


def _is_sealed(message: Part, depth: int = 0) -> bool:
    """Is it, or a part of it, signed or encrypted? What is attached as a message of its own keeps its bytes anyway."""
    if message.get_content_type() in _SEALED:
        return True
    children = message.get_payload() if message.get_content_type() == "multipart/mixed" and depth < MAX_DEPTH else None
    return isinstance(children, list) and any(isinstance(child, Part) and _is_sealed(child, depth + 1) for child in children)


def _author(senders: tuple[Mailbox, ...]) -> Mailbox | None:
    """The first real address; else the last word, for an unquoted comma may have cut the name before it."""
    named = [sender for sender in senders if sender.address]
    return next((sender for sender in named if "@" in sender.address), named[-1] if named else None)


def _headers(message: Part) -> Iterator[tuple[str, str]]:
    for key, value in message.items():
        yield charset.raw_header(str(key)), _one_line(charset.unfolded(str(value)))


def _one_line(value: str) -> str:
    """What an encoded word may have smuggled in must not end a line again, or turn what stands around it."""
    return charset.shown(value, " ")


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
        return date.astimezone() if date.tzinfo is None else date
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def _importance(first: Callable[[str], str]) -> str:
    """Importance (RFC 2156), X-Priority (1 to 5) or Priority, in that order."""
    declared = first("importance").strip().lower()
    if declared in ("high", "normal", "low"):
        return declared
    mark = first("x-priority").strip()[:1]
    if mark:
        return {"1": "high", "2": "high", "4": "low", "5": "low"}.get(mark, "normal")
    return {"urgent": "high", "non-urgent": "low"}.get(first("priority").strip().lower(), "normal")
