"""A part's bytes, as far as its transfer encoding goes; and a part as it is written."""

import binascii
import email.message
import re
from copy import copy
from email.errors import MessageError
from itertools import islice

from proxmox_graph_mail.message import charset

Part = email.message.Message

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_OTHERS = bytes(set(range(256)) - set(_ALPHABET))
_NO_BASE64 = re.compile(rb"^(?=.)[A-Za-z0-9+/=]*(?:[ \t]*[^A-Za-z0-9+/=\s]|[ \t]+\S)", re.MULTILINE)
NOISY = 100  # lines of base64 that may have something else in them
_TWO_WORDS = re.compile(rb"\S[ \t]+\S")
_LONG_LINE = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
_NEXT_LONG_LINE = re.compile(rb"\r?\n[A-Za-z0-9+/]{40,}={0,2}\s*$", re.MULTILINE)


def content_of(part: Part) -> bytes:
    """A leaf's bytes, decoded as far as that goes."""
    if _is_base64(part):
        written = _written(part)
        encoded, behind = _split(written)
        content = base64(encoded) if encoded or not behind else None
        if content is not None:
            return content
        if part.get_content_maintype() == "text" or behind:  # the label is wrong: what is there is the text
            return written
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else as_bytes(part)


def behind_base64(part: Part) -> bytes:
    """What was written in plain behind a part in base64: a footer, by a program that did not look."""
    encoded, behind = _split(_written(part)) if _is_base64(part) else (b"", b"")
    return behind if encoded else b""


def _is_base64(part: Part) -> bool:
    return str(part.get("Content-Transfer-Encoding", "")).strip().lower() == "base64"


def _written(part: Part) -> bytes:
    """A leaf's bytes as they were written; the standard library would replace those that do not fit the charset."""
    bare = copy(part)
    del bare["Content-Transfer-Encoding"]
    written = bare.get_payload(decode=True)
    return written if isinstance(written, bytes) else as_bytes(part)


def _split(written: bytes) -> tuple[bytes, bytes]:
    """The base64, and what stands behind it: lines from the first that is none, if there are words among them. Where base64 goes
    on in the next line, it was noise."""
    for other in islice(_NO_BASE64.finditer(written), NOISY):
        at, end = other.start(), written.find(b"\n", other.end())
        line = b"".join(written[at : end if end > 0 else None].split())
        if _LONG_LINE.fullmatch(line) or (end > 0 and _NEXT_LONG_LINE.match(written, end)):
            continue
        if not _TWO_WORDS.search(written, at):
            break
        return (written[:at], written[at:]) if written[:at].strip() else (b"", written)
    return written, b""


def base64(written: bytes) -> bytes | None:
    """What base64 says, as far as it goes: outputs that were joined, each with its padding, a last letter that is too many. None
    where it is something else, which the standard library's way may repair."""
    letters = written.translate(None, b" \t\r\n")
    if len(letters.translate(None, _ALPHABET)) * 20 > len(letters):
        return None
    pieces, begun = [], b""
    for match in re.finditer(rb"([^=]+)(=*)", letters):
        quads = begun + match[1].translate(None, _OTHERS)
        over = len(quads) % 4
        padded = over + len(match[2]) >= 4 > over > 1 or (over > 1 and match.end() == len(letters))
        whole = len(quads) if padded else len(quads) - over  # what is no padding stands in the middle
        begun = quads[whole:]
        pieces.append(binascii.a2b_base64(quads[:whole] + b"=" * (-whole % 4)))
    content = b"".join(pieces)
    return content if content or not letters else None


def as_bytes(part: Part) -> bytes:
    """A part with all that is in it, as it would be written."""
    try:
        return part.as_bytes()
    except (MessageError, UnicodeError, LookupError, ValueError, TypeError, AttributeError, IndexError):
        pass  # the standard library refuses to write some fields and charsets that it has read
    fields = "".join(f"{name}: {charset.raw_header(str(value))}\n" for name, value in part.raw_items())
    children = part.get_payload()
    if not isinstance(children, list):
        return fields.encode("utf-8", "surrogateescape") + b"\n" + content_of(part)
    boundary = f"--{part.get_boundary('part')}\n".encode("utf-8", "surrogateescape")
    inner = [boundary + as_bytes(child) + b"\n" for child in children if isinstance(child, Part)]
    return b"".join([fields.encode("utf-8", "surrogateescape"), b"\n", *inner])
