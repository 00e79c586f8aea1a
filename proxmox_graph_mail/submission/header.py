"""What submission must know of a message's header section: where it begins and whom `-t` names.

Both sides use it, so that the mail the runner parses begins at the same byte as the one `sendmail` looked at.
"""

from proxmox_graph_mail.submission.addresses import addresses

HEADER_LIMIT = 4 << 20
"""Bytes of header `-t` reads before it stops looking for the blank line; no real header comes near."""

_RECIPIENT_FIELDS = (b"to", b"cc", b"bcc")
_RESENT_FIELDS = (b"resent-to", b"resent-cc", b"resent-bcc")


def start_of_message(data: bytes) -> int:
    """The offset behind leading mbox lines (`From …`, `>From …`), which Postfix local(8) writes before a mail it pipes."""
    at = 0
    while data.startswith((b"From ", b">From "), at):
        end = data.find(b"\n", at)
        if end < 0:
            return len(data)
        at = end + 1
    return at


def fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """The header fields of a message's beginning, names in lower case, values unfolded.

    Ends at the first blank line, at the first line that is no field (there the body begins, as sendmail,
    Postfix and exim have it), or with the bytes given.
    """
    found: list[tuple[bytes, list[bytes]]] = []
    for raw in head[start_of_message(head) :].split(b"\n"):
        line = raw.removesuffix(b"\r")
        if line[:1] in (b" ", b"\t") and found and line.strip():
            found[-1][1].append(line.strip())
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        if not colon or not name or any(c <= 32 or c >= 127 for c in name):
            break
        found.append((name.lower(), [value.strip()]))
    return [(name, b" ".join(lines)) for name, lines in found]


def header_complete(head: bytes) -> bool:
    """Does `head` hold the whole header section, that is a blank line?"""
    return b"\n\n" in head or b"\n\r\n" in head or head.startswith((b"\n", b"\r\n")) or len(head) >= HEADER_LIMIT


def header_recipients(head: bytes) -> list[str]:
    """The addresses of To, Cc and Bcc, for `-t`; where there are Resent- fields, of those alone (RFC 5322 3.6.6)."""
    found = fields(head)
    names = _RESENT_FIELDS if any(name in _RESENT_FIELDS for name, _ in found) else _RECIPIENT_FIELDS
    recipients: list[str] = []
    for name, value in found:
        if name in names:
            recipients += addresses(value.decode("utf-8", "surrogateescape"))
    return recipients
