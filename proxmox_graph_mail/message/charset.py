"""Bytes → text: declared charset, else UTF-8, else Latin-1; and RFC 2047 encoded words, however broken.

Programs of a host declare wrongly more often than not: mail(1) in the C locale calls UTF-8 `ANSI_X3.4-1968`,
PVE::Tools loses the charset in the header before it. Latin-1 decodes everything, so nothing ever becomes a
replacement character where a decoding exists.
"""

import base64
import binascii
import codecs
import re

_NO_TEXT = {"idna", "punycode", "unicode-escape", "unicode_escape", "raw-unicode-escape", "raw_unicode_escape", "undefined"}
"""Codecs that Python counts as text encodings and no mail means; idna and punycode take quadratic time."""

_WESTERN = {"iso8859-1", "iso8859-15", "cp1252"}
"""In these every byte is a letter; text that is UTF-8 to the last byte is never meant by them (two such letters in a row)."""

_ALIASES = {"ansi": "cp1252", "x-unknown": "utf-8", "unknown-8bit": "utf-8", "unicode-1-1-utf-7": "utf-7", "cp-850": "cp850"}

# RFC 2047 2, but any length, blanks inside the text, and a missing or doubled `=` at the end.
_WORD = re.compile(r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,20})?\?([BbQq])\?([^?\n]*)\?=")
_GAP = re.compile(r"(\?=)[ \t\r\n]+(?==\?[^?\s]{1,80}\?[BbQq]\?)")


def codec(charset: str) -> str | None:
    """The Python codec for a declared charset; None if there is none or none a mail can mean."""
    name = charset.strip().strip("\"'").lower()
    name = _ALIASES.get(name, name)
    try:
        entry = codecs.lookup(name)
        if entry.name in _NO_TEXT or not isinstance("".encode(entry.name), bytes):
            return None
    except (LookupError, ValueError, UnicodeError, TypeError):  # ValueError: a NUL in the name
        return None
    return entry.name


def decode(content: bytes, charset: str | None) -> tuple[str, str | None]:
    """The text, and a defect if the declared charset did not hold."""
    declared = codec(charset) if charset else None
    if declared in _WESTERN and not content.isascii():
        try:
            return content.decode(), f"the charset {charset!r} does not fit the text; read as UTF-8"
        except UnicodeDecodeError:
            pass
    for name in (declared, "utf-8"):
        if name:
            try:
                text = content.decode(name)
            except (UnicodeError, ValueError):
                continue
            if name == declared or not charset:
                return text.removeprefix("\ufeff"), None
            return text.removeprefix("\ufeff"), f"the charset {charset!r} does not fit the text; read as UTF-8"
    # Windows-1252 is what "Latin-1" mostly means, but has holes.
    try:
        return content.decode("cp1252"), f"the charset {charset!r} does not fit the text; read as Windows-1252"
    except UnicodeDecodeError:
        return content.decode("latin-1"), f"the charset {charset!r} does not fit the text; read as Latin-1"


def raw_header(value: str | bytes) -> str:
    """A header value that may hold raw 8-bit bytes (surrogates, as the email package keeps them): UTF-8, else Latin-1."""
    if isinstance(value, str):
        if value.isascii():
            return value
        value = value.encode("utf-8", "surrogateescape")
    return decode(value, None)[0]


def unfold(value: str) -> str:
    """A header value as one line (RFC 5322 2.2.3)."""
    return " ".join(line.strip() for line in value.split("\n")).strip()  # no regex: its blanks would cost quadratic time


def unfolded(value: str) -> str:
    """A header value as one line, its encoded words decoded."""
    return words(unfold(value))


def words(value: str) -> str:
    """Decode the encoded words of an unfolded header value.

    Adjacent words of one charset are joined as bytes first, for many senders cut inside a character (RFC 2047
    forbids it). What cannot be decoded stays as it is.
    """
    if "=?" not in value:
        return value
    value = _GAP.sub(r"\1", value)
    out: list[str] = []
    pending, pending_charset = b"", ""
    at = 0
    for match in _WORD.finditer(value):
        charset, encoding, text = match.groups()
        content = _word_bytes(encoding.upper(), text)
        if content is None:
            continue
        if match.start() > at or (pending and charset.lower() != pending_charset):
            out.append(decode(pending, pending_charset)[0])
            pending = b""
            out.append(value[at : match.start()])
        pending += content
        pending_charset = charset.lower()
        at = match.end()
    out.append(decode(pending, pending_charset)[0] if pending else "")
    out.append(value[at:])
    return "".join(out)


def _word_bytes(encoding: str, text: str) -> bytes | None:
    raw = text.encode("utf-8", "surrogateescape")
    if encoding == "Q":
        return binascii.a2b_qp(raw.replace(b"_", b"=20"), header=False) if b"=" in raw or b"_" in raw else raw
    letters = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    try:
        return base64.b64decode(letters + b"=" * (-len(letters) % 4))
    except binascii.Error:
        return None
