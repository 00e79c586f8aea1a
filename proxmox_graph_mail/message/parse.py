"""Bytes → Mail: the standard library's parser, and what it gets wrong.

Repaired here, each because a program of a Proxmox host does it: mbox lines before the header (mail piped by
Postfix), a charset that continues the wrong header (PVE::Tools), a wrong or missing charset (mail(1) in the C
locale), encoded words of any length (proxmox-sendmail), `From: root (Cron Daemon)` (cron), raw UTF-8 in headers
(bsd-mailx), bare CR (progress bars), NUL, and no From, Date or Message-ID at all.

Which part is the body: the first HTML, and the plain text that says the same; further plain-text parts without a
file name (a footer) are appended; every other leaf is an attachment, so that nothing a message carries is dropped.
"""

import binascii
import email.message
import mimetypes
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from email.feedparser import BytesFeedParser
from email.policy import Compat32
from email.utils import parsedate_to_datetime

from proxmox_graph_mail.message import charset
from proxmox_graph_mail.message.mail import Attachment, Mail, Mailbox
from proxmox_graph_mail.submission.addresses import mailboxes
from proxmox_graph_mail.submission.header import start_of_message

Part = email.message.Message


class _Policy(Compat32):
    """compat32, but a header with raw 8-bit bytes is read as UTF-8 or Latin-1 instead of becoming replacement characters."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        if name.lower() in ("content-type", "content-disposition"):
            value = value[:PARAMETER_LIMIT]
        return charset.raw_header(value)


_POLICY = _Policy()

_BARE_CR = re.compile(rb"\r(?!\n)")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LOST_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:+-]+)", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[^<>\s@]+@[^<>\s@]+>")
_SEALED = ("multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")
MAX_PARTS = 2000
"""Leaves of a message read one by one; what a bomb of parts has beyond is attached as one."""
MAX_DEPTH = 50
PIECE = 1 << 16
PARAMETER_LIMIT = 4096
"""Characters read of a header with parameters: the standard library takes quadratic time over them."""


def parse(data: bytes) -> Mail:
    """Take a message apart. Never raises, whatever the bytes are."""
    found = _Findings()
    try:
        message = _message(_clean_header(data[start_of_message(data) :], found))
        found.defects += [f"{type(defect).__name__}" for defect in message.defects]
        _walk(message, found, alternative=False, related=False, depth=0)
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError, IndexError, AssertionError) as error:
        # The standard library's parser has raised each of these on some mail. Then the mail is its own text.
        found = _Findings()
        found.defects.append(f"the parser gave up ({type(error).__name__}); shown as plain text")
        text, _ = charset.decode(data[start_of_message(data) :], None)
        found.texts = [text]
        message = Part()
    return _mail(message, found)


def _message(data: bytes) -> Part:
    """The standard library's parser, fed piece by piece: handed the whole, it makes a copy of four bytes a character."""
    parser: BytesFeedParser[Part] = BytesFeedParser(policy=_POLICY)
    for at in range(0, len(data), PIECE):
        parser.feed(data[at : at + PIECE])
    return parser.close()


class _Findings:
    """What a walk through the parts gathers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.alternatives: list[str] = []  # texts that another part says again as HTML
        self.htmls: list[str] = []
        self.attachments: list[Attachment] = []
        self.defects: list[str] = []


def _clean_header(data: bytes, found: _Findings) -> bytes:
    """Bare CRs and NULs of the header become blanks: the parser would take a CR for a line end, and so a forged field."""
    blank = _BLANK_LINE.search(data)
    end = blank.start() if blank else len(data)
    head = data[:end]
    if b"\r" in head or b"\0" in head:
        clean = _BARE_CR.sub(b" ", head).replace(b"\0", b" ")
        if clean != head:
            found.defects.append("bare CR or NUL in the header; read as blanks")
        return clean + data[end:]
    return data


def _walk(part: Part, found: _Findings, *, alternative: bool, related: bool, depth: int) -> None:
    kind = part.get_content_type()
    if part.is_multipart() and not kind.startswith("message/") and depth < MAX_DEPTH:
        children = part.get_payload()
        if isinstance(children, list):
            is_alternative = kind == "multipart/alternative"
            htmls, alternatives = len(found.htmls), len(found.alternatives)
            _stray_text(part.preamble, found)
            for child in children:
                if isinstance(child, Part):
                    _walk(
                        child, found,
                        alternative=is_alternative or (alternative and kind == "multipart/related"),
                        related=related or kind == "multipart/related",
                        depth=depth + 1,
                    )  # fmt: skip
            if is_alternative and len(found.htmls) == htmls:  # nothing says the same as HTML: it is the body itself
                found.texts += found.alternatives[alternatives:]
                del found.alternatives[alternatives:]
            _stray_text(part.epilogue, found)
            return
    if kind.startswith("multipart/") and not part.is_multipart():  # its boundary never comes: the text is all there is
        kind = "text/plain"
    named = bool(_filename(part))
    attached = named or part.get_content_disposition() == "attachment" or len(found.attachments) >= MAX_PARTS
    if kind == "text/plain" and not attached and not part.is_multipart():
        (found.alternatives if alternative else found.texts).append(_text(part, found))
    elif kind == "text/html" and not attached and not found.htmls and not part.is_multipart():
        found.htmls.append(_text(part, found))
    else:
        found.attachments.append(_attachment(part, found, related=related))


def _stray_text(text: str | None, found: _Findings) -> None:
    """What stands before the first and behind the last boundary is to be ignored (RFC 2046 5.1.1), for it says to old
    programs that this is MIME. If it says anything else, a boundary was wrong, and it may be the report itself."""
    if text and text.strip() and not re.search("mime|multi-?part|encrypted|signed", text, re.IGNORECASE):
        content = text.encode("utf-8", "surrogateescape")
        found.texts.append(charset.decode(content, None)[0].replace("\r\n", "\n").strip("\n") + "\n")
        found.defects.append("text outside the MIME boundaries; shown")


def _text(part: Part, found: _Findings) -> str:
    content = _content(part)
    text, defect = charset.decode(content, _charset(part))
    if defect:
        found.defects.append(defect)
    if "\0" in text:
        found.defects.append("NUL in the text; left out")
        text = text.replace("\0", "")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _charset(part: Part) -> str | None:
    declared = part.get_param("charset")
    if isinstance(declared, tuple):  # RFC 2231: (charset, language, value)
        declared = declared[2]
    if declared:
        return str(declared)
    # PVE::Tools writes Auto-Submitted between Content-Type and its continuation line (pve-common, Tools.pm, sendmail).
    lost = _LOST_CHARSET.search(str(part.get("Auto-Submitted", "")))
    return lost.group(1) if lost else None


def _content(part: Part) -> bytes:
    encoded = part.get_payload()
    if isinstance(encoded, str) and str(part.get("Content-Transfer-Encoding", "")).strip().lower() == "base64":
        try:
            return binascii.a2b_base64(encoded)
        except ValueError:
            pass  # the standard library's way repairs more, and takes four times the memory
    content = part.get_payload(decode=True)
    if isinstance(content, bytes):
        return content
    payload = part.get_payload()
    return payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else part.as_bytes()


def _attachment(part: Part, found: _Findings, *, related: bool) -> Attachment:
    kind = part.get_content_type()
    name = _filename(part)
    if kind.startswith("message/") or part.is_multipart():
        children = part.get_payload()
        inner = children[0] if isinstance(children, list) and children and isinstance(children[0], Part) else None
        if kind == "message/delivery-status":
            content = "\n".join(str(child) for child in children).encode() if isinstance(children, list) else _content(part)
            kind, name = "text/plain", name or "delivery-status.txt"
        elif kind in ("message/rfc822", "message/global") and inner is not None:
            content = _as_bytes(inner)
            title = charset.words(_unfold(str(inner.get("Subject", "")))).strip()
            name = name or f"{_safe_name(title)[:80] or 'message'}.eml"
        else:
            content = _as_bytes(part)
            kind = "message/rfc822"
            name = name or "part.eml"
    else:
        content = _content(part)
    if not name:
        extension = mimetypes.guess_extension(kind) or ".bin"
        name = f"attachment-{len(found.attachments) + 1}{extension}"
    content_id = str(part.get("Content-ID", "")).strip().strip("<>").strip()
    content_id = "".join(c for c in content_id if c.isprintable() and c not in "<>")
    # Shown in the body, unless it says it is an attachment or nothing could refer to it.
    inline = bool(content_id) and part.get_content_disposition() != "attachment" and (related or kind.startswith("image/"))
    return Attachment(name=name, content_type=_safe_type(kind), content=content, inline=inline, content_id=content_id)


def _as_bytes(part: Part) -> bytes:
    try:
        return part.as_bytes()
    except (UnicodeError, LookupError, ValueError, TypeError, AttributeError, IndexError):
        return part.as_string().encode("utf-8", "surrogateescape")


def _filename(part: Part) -> str:
    name = part.get_filename() or ""
    return _safe_name(charset.words(_unfold(str(name))))


def _safe_name(name: str) -> str:
    """A file name without directories and control characters: it ends up on somebody's disk."""
    name = re.split(r"[/\\]", name)[-1]
    return (
        "".join(c for c in name if c.isprintable()).strip().strip(".")
        and "".join(c if c not in '<>:"|?*' else "_" for c in name if c.isprintable()).strip()
    )


def _safe_type(kind: str) -> str:
    return kind if re.fullmatch(r"[!-.0-~]+/[!-.0-~]+", kind) else "application/octet-stream"


def _mail(message: Part, found: _Findings) -> Mail:
    headers = tuple(_headers(message))

    def first(name: str) -> str:
        return next((value for key, value in headers if key.lower() == name), "")

    def people(name: str) -> tuple[Mailbox, ...]:
        values = [str(value) for key, value in message.items() if key.lower() == name]
        return tuple(
            Mailbox(_one_line(charset.words(display)), _one_line(address))
            for value in values
            for display, address in mailboxes(_unfold(value))
        )

    senders = people("from")
    texts = found.alternatives if found.htmls else found.alternatives + found.texts
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
        html=found.htmls[0] if found.htmls else None,
        appended=tuple(found.texts) if found.htmls else (),
        attachments=tuple(found.attachments),
        sealed=message.get_content_type() in _SEALED,
        headers=headers,
        defects=tuple(dict.fromkeys(found.defects)),
    )


def _author(senders: tuple[Mailbox, ...]) -> Mailbox | None:
    """The first real address; else the last word, for an unquoted comma may have cut the name before it."""
    named = [sender for sender in senders if sender.address]
    return next((sender for sender in named if "@" in sender.address), named[-1] if named else None)


def _headers(message: Part) -> Iterator[tuple[str, str]]:
    for key, value in message.items():
        yield charset.raw_header(str(key)), _one_line(charset.words(_unfold(str(value))))


def _unfold(value: str) -> str:
    return " ".join(line.strip() for line in value.split("\n")).strip()  # no regex: its blanks would cost quadratic time


def _one_line(value: str) -> str:
    """What an encoded word may have smuggled in must not end a line again."""
    return "".join(c if c.isprintable() else " " for c in value) if not value.isprintable() else value


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        return found.astimezone() if found.tzinfo is None else found
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
