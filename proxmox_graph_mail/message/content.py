"""A part's bytes, as far as its transfer encoding goes; and a part as it is written."""

import binascii
import email.message
import re
from email.errors import MessageError

from proxmox_graph_mail.message import charset

Part = email.message.Message

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_OTHERS = bytes(set(range(256)) - set(_ALPHABET))


def content_of(part: Part) -> bytes:
    """A leaf's bytes, decoded as far as that goes."""
    if str(part.get("Content-Transfer-Encoding", "")).strip().lower() == "base64":
        encoded = part.get_payload()
        if not isinstance(encoded, str):
            return as_bytes(part)
        if (content := base64(encoded)) is not None:
            return content
        if part.get_content_maintype() == "text":  # the label is wrong: what is there is the text
            return encoded.encode("utf-8", "surrogateescape")
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else as_bytes(part)


def base64(encoded: str) -> bytes | None:
    """What base64 says, as far as it goes: outputs that were joined, each with its padding, a last letter that is too many. None
    where it is something else, which the standard library's way may repair."""
    try:
        letters = encoded.encode("ascii").translate(None, b" \t\r\n")
    except UnicodeEncodeError:
        return None
    if len(letters.translate(None, _ALPHABET)) * 20 > len(letters):
        return None
    pieces, begun = [], b""
    for piece in re.split(rb"=+", letters):
        quads = begun + piece.translate(None, _OTHERS)
        whole = len(quads) // 4 * 4 if len(quads) % 4 == 1 else len(quads)  # behind one letter it is no padding
        begun = quads[whole:]
        pieces.append(binascii.a2b_base64(quads[:whole] + b"=" * (-whole % 4)))
    return b"".join(pieces)


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
