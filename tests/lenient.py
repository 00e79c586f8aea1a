"""A second parser, which shares no code with the first: line by line, without a tree. What it sees of a mail's text must be found
on the page or in the attachments.

It takes every boundary that is declared anywhere, cuts the message at its lines, and reads each piece by its own header.
"""

import base64
import binascii
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

_BOUNDARY = re.compile(
    rb"multipart/([^\s;]+)[^\n]*?(?:\n[ \t][^\n]*?)*?boundary=(?:\"([^\"]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE
)
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z]{4,}")
_HIDDEN = re.compile(r"<(script|style|head|title)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)|<[^>]*(?:>|$)", re.IGNORECASE | re.DOTALL)
_CONTROLS = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|[@-Z\\\\-_])|[\x00-\x08\x0b\x0e-\x1f\x7f]")
_ENTITY = re.compile(r"&[#\w]*;?")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]*={0,2}\s*")
_SAFE = re.compile(rb"^(?:utf-?8|us-ascii|ascii|iso-8859-\d+|windows-125\d|latin-?1)$", re.IGNORECASE)
"""Charsets in which a letter's byte is that letter, wherever it stands."""


@dataclass(frozen=True)
class Piece:
    """What stands between two boundary lines: its header's fields, its body, and what kind of multipart it stands in."""

    fields: dict[bytes, bytes]
    body: bytes
    within: bytes


def pieces(data: bytes) -> list[Piece]:
    """The message cut at every line that is a boundary."""
    kinds = {re.sub(rb"\n[ \t]", b" ", quoted or bare).rstrip(): kind.lower() for kind, quoted, bare in _BOUNDARY.findall(data)}
    found: list[Piece] = []
    lines: list[bytes] = []
    within, ended = b"", False
    for line in data.splitlines(keepends=True):
        name = line.rstrip()
        known = name.startswith(b"--") and (name[2:] in kinds or (name.endswith(b"--") and name[2:-2] in kinds))
        if not known:
            lines.append(line)
            continue
        found.append(_piece(b"".join(lines), within, bare=ended))
        ended = name[2:] not in kinds
        within, lines = (b"" if ended else kinds[name[2:]]), []
    found.append(_piece(b"".join(lines), within, bare=ended))
    return found


def _piece(data: bytes, within: bytes, *, bare: bool) -> Piece:
    if bare and not data.lower().startswith(b"content-"):  # behind the last boundary there is no header
        return Piece({}, data, within)
    head, blank, body = data.partition(b"\n\n") if not data.startswith(b"\n") else (b"", b"\n", data[1:])
    return Piece({name.lower(): value.strip() for name, value in reversed(_FIELD.findall(head))} if blank else {}, body, within)


def texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What a reader would be shown, a piece at a time, and as it stands in the message; nothing whose charset is not safely read,
    and nothing where one part may say the same as another."""
    found = pieces(data)
    if b"text/html" in data.lower() and b"multipart/alternative" in data.lower():
        return
    for piece in found:
        kind = piece.fields.get(b"content-type", b"text/plain").lower()
        if not kind.startswith((b"text/plain", b"text/html")) or b"flowed" in kind:
            continue
        content = _decoded(piece)
        charset = re.search(rb"charset=\"?([^\s\";]+)", kind)
        if charset and not _SAFE.match(charset[1]):
            if piece is found[0]:
                return
            continue
        if content is None or b"\x1b$" in content:
            continue
        text = content.decode("latin-1")
        if kind.startswith(b"text/html"):
            text = _ENTITY.sub(" ", _HIDDEN.sub(" ", text))
        if not _BASE64.fullmatch(piece.body):
            yield text, piece.body


def _decoded(piece: Piece) -> bytes | None:
    encoding = piece.fields.get(b"content-transfer-encoding", b"").lower()
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(piece.body)
    if encoding == b"base64":
        letters = b"".join(piece.body.split())
        if len(letters) % 4 or not re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}", letters):
            return None
        return base64.b64decode(letters)
    return piece.body


def words(text: str) -> list[str]:
    """Runs of four and more letters of the lines that are not drawn over."""
    lines = [line for line in text.split("\n") if "\x08" not in line and "\r" not in line.rstrip("\r")]
    return _WORD.findall(re.sub(r"charset=\S*", " ", _CONTROLS.sub(" ", "\n".join(lines)), flags=re.IGNORECASE))


def haystack(page: str, more: list[str], contents: list[bytes]) -> str:
    """All in which a word may be found: the page with its tags and without, its entities read; other texts; attachments."""
    bare = re.sub(r"<[^>]*>", "", page)
    return "\n".join((page, html.unescape(bare), *more, *(content.decode("latin-1") for content in contents)))
