"""A message's header section: where it begins and ends, its fields as they stand, and whom they name.

The one splitter: `sendmail -t`, the parser and the MIME form use it, so that all of them see the same fields.
"""

from proxmox_graph_mail.rfc822.addresses import addresses

HEADER_LIMIT = 4 << 20  # bytes of header `-t` reads before it stops looking for the blank line; no real header comes near

_BOM = b"\xef\xbb\xbf"
_RECIPIENT_FIELDS = (b"to", b"cc", b"bcc")
_RESENT_FIELDS = (b"resent-to", b"resent-cc", b"resent-bcc")


def start_of_message(data: bytes) -> int:
    """The offset behind a byte order mark, which some editors write, and leading mbox lines (`From …`, `>From …`), which Postfix
    local(8) writes before a mail it pipes."""
    at = len(_BOM) if data.startswith(_BOM) else 0
    while _is_mbox_line(data, at):
        end = data.find(b"\n", at)
        if end < 0:
            return len(data)
        at = end + 1
    return at


def _is_mbox_line(data: bytes, at: int) -> bool:
    if not data.startswith((b"From ", b">From "), at):
        return False
    return not data[at + 5 : at + 100].lstrip(b" \t").startswith(b":")  # `From : x` is a field (RFC 5322 4.5)


def goes_on(line: bytes) -> bool:
    """Does a line go on with the field before: folded, or an encoded word that somebody forgot to fold?"""
    if line[:1] in (b" ", b"\t"):
        return True
    word = line[2:80].split(b"?", 2)
    return line.startswith(b"=?") and len(word) == 3 and b" " not in word[0] and word[1].upper() in (b"B", b"Q")


def header_of(data: bytes) -> bytes:
    """The header section of a message as it was submitted."""
    head = data[start_of_message(data) :]
    return head[: section_end(head)[0]]


def split(data: bytes) -> tuple[bytes, bytes]:
    """Header section, with its last line end, and body, without the blank line between them (RFC 5322 2.1)."""
    end, start = section_end(data)
    return data[:end], data[start:]


def section_end(data: bytes) -> tuple[int, int]:
    """Where the header section ends, and where the body begins; both the end of `data` where no blank line comes."""
    if data.startswith((b"\n", b"\r\n")):
        return 0, data.index(b"\n") + 1
    end = data.find(b"\n\n")
    with_cr = data.find(b"\n\r\n", 0, end if end >= 0 else len(data))
    if with_cr >= 0:
        return with_cr + 1, with_cr + 3
    return (end + 1, end + 2) if end >= 0 else (len(data), len(data))


def written_fields(head: bytes) -> list[bytes]:
    """The fields of a header section as they stand, each with its continuation lines and line ends.

    Ends at the first blank line, at the first line that is no field (there the body begins, as sendmail, Postfix and exim have
    it), or with the bytes given.
    """
    folded: list[list[bytes]] = []
    at = 0
    while at < len(head):
        end = head.find(b"\n", at) + 1 or len(head)  # not splitlines: a bare CR ends no line
        line = head[at:end]
        at = end
        if folded and goes_on(line):
            folded[-1].append(line)
        elif field_name(line):
            folded.append([line])
        else:
            break
    return [b"".join(lines) for lines in folded]


def well_formed(field: bytes) -> bytes:
    """A field without a blank before its colon, and with every continuation line folded."""
    name, _, value = field.partition(b":")
    lines = value.split(b"\n")
    folded = [lines[0], *[line if line[:1] in (b" ", b"\t", b"", b"\r") else b" " + line for line in lines[1:]]]
    return name.rstrip(b" \t") + b":" + b"\n".join(folded)


def field_name(field: bytes) -> bytes:
    """A field's name as written; empty if this is no field (RFC 5322 3.6.8: printable ASCII, then a colon)."""
    name, colon, _ = field.partition(b":")
    name = name.rstrip(b" \t")
    return name if colon and name and all(32 < c < 127 for c in name) else b""


def fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """The header fields of a message's beginning, names in lower case, values unfolded."""
    pairs = []
    for field in written_fields(head[start_of_message(head) :]):
        value = field.partition(b":")[2]
        pairs.append((field_name(field).lower(), b" ".join([line.strip() for line in value.split(b"\n") if line.strip()])))
    return pairs


def header_complete(head: bytes) -> bool:
    """Does `head` hold the whole header section, that is a blank line?"""
    return b"\n\n" in head or b"\n\r\n" in head or head.startswith((b"\n", b"\r\n")) or len(head) >= HEADER_LIMIT


def header_recipients(head: bytes) -> list[str]:
    """The addresses of To, Cc and Bcc, for `-t`; where there are Resent- fields, of those alone (RFC 5322 3.6.6)."""
    written = fields(head)
    names = _RESENT_FIELDS if any(name in _RESENT_FIELDS for name, _ in written) else _RECIPIENT_FIELDS
    recipients: list[str] = []
    for name, value in written:
        if name in names:
            recipients += addresses(value.decode("utf-8", "surrogateescape"))
    return recipients
