"""Bytes → text: the declared charset, else UTF-8, else Windows-1252; and RFC 2047 encoded words, however broken.

Programs of a host declare wrongly more often than not: mail(1) in the C locale calls UTF-8 `ANSI_X3.4-1968`,
PVE::Tools loses the charset in the header before it. One byte that does not fit (a file name in Latin-1, a text cut inside a
character) must not ruin the rest: what is UTF-8 stays UTF-8, and the stray byte is read as Windows-1252. That decodes everything,
so nothing becomes a replacement character where a decoding exists.

Labels are the world's (WHATWG, Encoding, "Names and labels"; by webencodings): iso-8859-1 and us-ascii mean Windows-1252, gb2312
means its superset, and so on; what that table lacks, Python's own codecs know.
"""

import base64
import binascii
import codecs
import re
import unicodedata

import webencodings

_NO_TEXT = {"idna", "punycode", "unicode-escape", "unicode_escape", "raw-unicode-escape", "raw_unicode_escape", "undefined"}
"""Codecs that Python counts as text encodings and no mail means; idna and punycode take quadratic time."""

_WESTERN = {"cp1252", "iso8859-15"}
"""In these every byte is a letter; text that is UTF-8 to the last byte is never meant by them (two such letters in a row)."""

_ALIASES = {"x-unknown": "utf-8", "unknown-8bit": "utf-8", "ansi": "cp1252", "unicode-1-1-utf-7": "utf-7", "cp-850": "cp850"}
_SUPERSETS = {
    "gbk": "gb18030", "gb2312": "gb18030", "shift_jis": "cp932", "big5": "big5hkscs", "euc_kr": "cp949", "iso8859-1": "cp1252",
    "ascii": "cp1252",
}  # fmt: skip
"""What WHATWG decodes by a larger table than Python's codec of that name (webencodings 0.5 gives the smaller one)."""
_NOT_DECODED = ("replacement", "x-user-defined")  # what WHATWG refuses on purpose; Python's codec of the label may do
_WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_STRAYS = re.compile("[\udc80-\udcff]+")
_BEYOND_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]")
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
TOLERATED = 10  # characters of a declared charset for each one that does not fit it, for the charset to be believed

# RFC 2047 2, but any length, blanks inside the text, and a missing or doubled `=` at the end.
_WORD = re.compile(r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,20})?\?([BbQq])\?([^?\n]*)\?=")
_GAP = re.compile(r"(\?=)[ \t\r\n]+(?==\?[^?\s]{1,80}\?[BbQq]\?)")


def codec(charset: str) -> str | None:
    """The Python codec for a declared charset; None if there is none or none a mail can mean."""
    name = charset.strip().strip("\"'").lower()
    name = _ALIASES.get(name, name)
    try:
        known = webencodings.lookup(name) if name.isascii() else None
        entry = known.codec_info if known is not None and known.name not in _NOT_DECODED else codecs.lookup(name)
        if entry.name in _NO_TEXT or not isinstance("".encode(entry.name), bytes):
            return None
    except (LookupError, ValueError, UnicodeError, TypeError):  # ValueError: a NUL in the name
        return None
    return _SUPERSETS.get(entry.name, entry.name)


def decode(content: bytes, charset: str | None) -> tuple[str, str | None]:
    """The text, and a defect if the declared charset did not hold."""
    text, found = _decoded(content, codec(charset) if charset else None)
    defect = f"the charset {charset!r} does not fit the text; read as {found}" if found else None
    return text.removeprefix("\ufeff"), defect


def _decoded(content: bytes, declared: str | None) -> tuple[str, str]:
    """The text; and what it was read as, if that is not what was declared, or not declared."""
    declared = _really_wide(content, declared)
    if declared in _WESTERN or declared is None:
        try:
            return content.decode(), "" if declared is None or content.isascii() else "UTF-8"
        except UnicodeDecodeError:
            pass
    if declared is not None and declared not in _WESTERN:
        try:
            return content.decode(declared), ""
        except (UnicodeError, ValueError):
            pass
    if (mixed := _mixed(content)) is not None:
        return mixed, "UTF-8, with some bytes of Windows-1252"
    if declared == "iso8859-15":
        return content.decode(declared), ""
    if declared is not None and declared not in ("cp1252", "utf-8"):
        try:
            text = content.decode(declared, "replace")
        except (UnicodeError, ValueError):
            text = "\ufffd"
        if text.count("\ufffd") * TOLERATED <= len(_BEYOND_ASCII.findall(text)):
            return text, f"{declared}, as far as it does"
    return _windows_1252(content), "" if declared == "cp1252" else "Windows-1252"


def _really_wide(content: bytes, declared: str | None) -> str | None:
    """A declared charset; of those with several bytes a character, the one that the beginning tells, and none where it cannot be:
    no Western or Asian text in them is without a NUL."""
    if declared not in _WIDE:
        return declared
    if declared.startswith("utf-16") and content.startswith(_BOMS):
        return "utf-16"
    return declared if b"\0" in content else None


def _mixed(content: bytes) -> str | None:
    """Text that is UTF-8 for its greater part: stray bytes as Windows-1252, a character that is cut off at the end as `…`; None
    where most of what is not ASCII is no UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text = decoder.decode(content)
    tail = decoder.getstate()[0]
    strays = sum(len(found) for found in _STRAYS.findall(text))
    letters = len(_BEYOND_ASCII.findall(text))
    if letters <= strays and not (letters == strays == 0 and len(tail) > 1):
        return None
    text = _STRAYS.sub(lambda match: _windows_1252(match[0].encode("utf-8", "surrogateescape")), text)
    return f"{text}…" if tail else text


def _windows_1252(content: bytes) -> str:
    """As browsers read it: where Windows-1252 has holes, a byte is the control character of its number."""
    text = content.decode("cp1252", "surrogateescape")
    return _STRAYS.sub(lambda match: match[0].encode("utf-8", "surrogateescape").decode("latin-1"), text)


def shown(text: str, instead: str = "") -> str:
    """The text without what a line of it must not hold: controls, line ends, surrogates, and what turns the direction of what
    stands around it (UAX #9: embeddings, overrides, isolates). Joiners, soft hyphens, and blanks of other widths stay."""
    if text.isprintable():
        return text
    return "".join(instead if c in _TURNING or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


def raw_header(value: str | bytes) -> str:
    """A header value that may hold raw 8-bit bytes (surrogates, as the email package keeps them): UTF-8, else Windows-1252."""
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
