"""A message's own bytes → the MIME form that sendMail takes: for MAIL_FORMAT=mime, and for what JSON cannot carry.

Kept to the byte but for what must differ: To, Cc and Bcc are the envelope's (Graph knows no other), From is the sending mailbox,
Message-ID and Date are there, and quoted-printable parts become base64, because Graph corrupts their soft line breaks. Nothing
inside of a signed part is touched.

Source: Graph, "user: sendMail" (MIME format); RFC 5322, RFC 2046 5.1, RFC 1847 2.1 (a signature covers the part's bytes).
"""

import binascii
import quopri
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.header import Header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import format_datetime
from urllib.parse import quote

from proxmox_graph_mail.graph.message import Circumstances, display_name, message_id, reply_to
from proxmox_graph_mail.message import charset
from proxmox_graph_mail.message.mail import Mail, Mailbox
from proxmox_graph_mail.message.recipients import Recipients
from proxmox_graph_mail.rfc822.addresses import mailboxes
from proxmox_graph_mail.rfc822.header import field_name, split, well_formed, written_fields

MIME_LIMIT = 2_200_000  # bytes of a message in MIME form: base64 makes 3 MB of it, and Graph is known to refuse what is larger
MAX_DEPTH = 50
PARAMETER_LIMIT = 4096  # characters read of a field with parameters

_REPLACED = frozenset(
    (b"to", b"cc", b"bcc", b"from", b"sender", b"return-path", b"delivered-to", b"x-original-to",
     b"resent-to", b"resent-cc", b"resent-bcc", b"resent-from", b"resent-sender", b"dkim-signature")
)  # fmt: skip
"""…by the envelope's; and a signature over the header can no longer verify."""
_PARAMETER = re.compile(r";(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)")  # a semicolon outside of quotes
_EXCHANGE = b"x-ms-exchange-"  # what Exchange alone may say


def mime_form(data: bytes, mail: Mail, recipients: Recipients, circumstances: Circumstances) -> bytes | None:
    """The message as it is handed to Graph, before base64; None if its header, or an address, is none that MIME has a form for.

    `data` begins with the header.
    """
    newline = b"\r\n" if b"\r\n" in data[:1000] else b"\n"
    head, body = split(data)
    if not all(person.address.isascii() for person in (*recipients.to, *recipients.cc, *recipients.bcc)):
        return None
    fields = written_fields(head)
    if sum(map(len, fields)) < len(head) or b"\0" in head or b"\r" in head.replace(b"\r\n", b""):
        return None  # what stands there is not a field
    kept, present = [], set()
    for field in fields:
        name = field_name(field)
        if name.lower() not in _REPLACED and not name.lower().startswith(_EXCHANGE):
            field = well_formed(field)
            kept.append(field.rstrip(b"\r\n") if field.isascii() else _encoded(name, field.partition(b":")[2], newline))
            present.add(name.lower())
    ours = [("From", _mailboxes([Mailbox(display_name(mail.sender, circumstances), circumstances.sender)]))]
    ours += [
        (name, _mailboxes(people))
        for name, people in (("To", recipients.to), ("Cc", recipients.cc), ("Bcc", recipients.bcc))
        if people
    ]
    answer_to = [person for person in reply_to(mail, circumstances.host) if person.address.isascii()]
    if answer_to and b"reply-to" not in present:
        ours.append(("Reply-To", _mailboxes(answer_to)))
    if b"message-id" not in present:
        ours.append(("Message-ID", message_id(mail, circumstances)))
    if b"date" not in present:
        ours.append(("Date", format_datetime(datetime.fromtimestamp(circumstances.arrived, UTC).astimezone())))
    if b"mime-version" not in present:
        ours.append(("MIME-Version", "1.0"))
    first = b"".join(f"{name}: {value}\n".encode("ascii").replace(b"\n", newline) for name, value in ours)
    rest = b"".join(field + newline for field in kept)
    return first + _recoded(rest + newline + body, newline, 0)


def _encoded(name: bytes, value: bytes, newline: bytes) -> bytes:
    """A field with raw 8-bit text (mail(1) writes such subjects) as the standards want it: parameters by RFC 2231, addresses and
    words by RFC 2047. An encoded word that stands beside it stays one word, and is not encoded twice."""
    text = " ".join(charset.raw_header(value).split())
    kind = name.lower()
    if kind in (b"content-type", b"content-disposition"):
        return name + b": " + _with_parameters(text[:PARAMETER_LIMIT]).encode("ascii")
    if kind == b"reply-to":
        people = [Mailbox(charset.words(display), address) for display, address in mailboxes(text) if address.isascii()]
        return name + b": " + _mailboxes(people).encode("ascii").replace(b"\n", newline)
    words = Header(charset.words(text), "utf-8", maxlinelen=70, header_name=name.decode("ascii")).encode(linesep="\n")
    return name + b": " + words.encode("ascii").replace(b"\n", newline)


def _with_parameters(text: str) -> str:
    """A value with parameters; those that are not ASCII in RFC 2231's form."""
    value, *parameters = _PARAMETER.split(text)
    out = [value.strip().encode("ascii", "ignore").decode()]
    for parameter in parameters:
        key, equals, said = (word.strip() for word in parameter.partition("="))
        key = key.encode("ascii", "ignore").decode()
        said = said.strip('"')
        if equals and key and said.isascii():
            out.append(f'{key}="{said}"')
        elif equals and key:
            out.append(f"{key}*=utf-8''{quote(said, safe='')}")
    return "; ".join(out)


def _mailboxes(people: Iterable[Mailbox]) -> str:
    """An address list, one a line, each name quoted or encoded (RFC 2047)."""
    shown = []
    for person in people:
        name = charset.shown(person.name)
        if name and name.isascii():
            name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        elif name:
            name = Header(name, "utf-8", maxlinelen=70).encode(linesep="\n")
        shown.append(f"{name} <{person.address}>" if name else person.address)
    return ",\n ".join(shown)


def _recoded(entity: bytes, newline: bytes, depth: int) -> bytes:
    """The entity with its quoted-printable leaves in base64; what is signed, and what is no MIME, as it was."""
    head, body = split(entity)
    try:
        described: Message = BytesHeaderParser().parsebytes(head + b"\n\n")
        kind = described.get_content_type()
        encoding = str(described.get("Content-Transfer-Encoding", "")).strip().lower()
        boundary = described.get_boundary() if kind.startswith("multipart/") else None
    except (ValueError, LookupError, TypeError, AttributeError, IndexError):
        return entity  # the standard library's parser gives up on it: Graph may look at it as it is
    if kind in ("multipart/signed", "multipart/encrypted") or depth > MAX_DEPTH:
        return entity
    if boundary:
        start = len(entity) - len(body)
        return entity[:start] + _each_part(body, boundary.encode("utf-8", "surrogateescape"), newline, depth)
    if encoding != "quoted-printable" or not body:
        return entity
    fields = [field for field in written_fields(head) if field_name(field).lower() != b"content-transfer-encoding"]
    fields.append(b"Content-Transfer-Encoding: base64" + newline)
    content = quopri.decodestring(body)
    lines = [binascii.b2a_base64(content[at : at + 57], newline=False) for at in range(0, len(content), 57)]
    return b"".join(fields) + newline + newline.join(lines) + newline


def _each_part(body: bytes, boundary: bytes, newline: bytes, depth: int) -> bytes:
    """A multipart's body with its parts recoded, everything between them as it was."""
    delimiter = re.compile(rb"(?:\A|(?<=\n))--" + re.escape(boundary) + rb"(--)?[ \t]*\r?(?:\n|\Z)")
    out, at, inside = [], 0, False
    for match in delimiter.finditer(body):
        part = body[at : match.start()]
        if inside:
            # The line end before a delimiter belongs to the delimiter (RFC 2046 5.1.1).
            end = b"\r\n" if part.endswith(b"\r\n") else b"\n" if part.endswith(b"\n") else b""
            part = _recoded(part.removesuffix(end), newline, depth + 1) + end
        out += [part, match[0]]
        at, inside = match.end(), match[1] is None
    tail = body[at:]
    return b"".join([*out, _recoded(tail, newline, depth + 1) if inside else tail])
