"""What a message may ask of the parser, measured before the parser sees it: linear in its bytes, by searches alone.

The standard library's parser compares each line with the boundary of every multipart around it, and keeps each part and each
field as objects. So some hundred kilobytes of nested multiparts keep it busy for minutes, and some megabytes of fields or parts
take hundreds of megabytes; and anybody on the host may send such a mail. What exceeds the bounds is shown as an outline: who,
what about, and the whole of it as an attachment (message/parse.py). Nothing that a program writes comes near them.
"""

import re

from proxmox_graph_mail.rfc822.header import section_end

NESTED = 50  # multiparts and messages in one message, each of which may hold the next
PARTS = 1000
HEADER = 1 << 20  # bytes of the header section of a message, and of a part
FIELDS = 2000  # fields of a message's header section
SEARCHED = 4 << 30  # bytes that are searched for boundaries, all boundaries together: some two seconds
WORK = 20_000_000  # lines, times what may be nested: comparisons of the parser, some seconds of them

# Whatever stands between name and value: the parser folds, and strips more than blanks. Rather one too many than one too few.
_COMPOSED = re.compile(rb"content-type[^a-z0-9]*(?:multipart|message)/", re.IGNORECASE)
_BOUNDARY = re.compile(rb"boundary\*?\d?\*?[ \t\r\n]*=[ \t\r\n]*(?:\"([^\"\r\n]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE)
_HEADER_END = re.compile(rb"\n\r?\n")


def exceeded(data: bytes) -> str:
    """What of a message is too much for the parser, in words; empty where it is not."""
    end, _ = section_end(data)
    if end > HEADER or data.count(b"\n", 0, end) > FIELDS:
        return "its header is too long"
    if not _COMPOSED.search(data, 0, end + 1):
        return ""  # one part: it is not looked into
    nested = 0
    for match in _COMPOSED.finditer(data):
        nested += 1
        if nested > NESTED:
            return "too much is nested in it"
        if _header_after(data, match.end()) > HEADER:
            return "the header of a part is too long"
    if nested * data.count(b"\n") > WORK:
        return "it has too many lines for what is nested in it"
    return _parts(data)


def _parts(data: bytes) -> str:
    boundaries = {quoted or bare for quoted, bare in _BOUNDARY.findall(data)}
    if len(boundaries) > 2 * NESTED or len(boundaries) * len(data) > SEARCHED:
        return "it has too many boundaries"
    parts = 0
    for boundary in boundaries:
        line = b"\n--" + boundary
        at = data.find(line)
        while at >= 0:
            parts += 1
            if parts > PARTS:
                return "it has too many parts"
            if _header_after(data, at) > HEADER:
                return "the header of a part is too long"
            at = data.find(line, at + len(line))
    return ""


def _header_after(data: bytes, at: int) -> int:
    """Bytes from there to the end of a header section; more than HEADER if that does not come within so many."""
    match = _HEADER_END.search(data, at, at + HEADER + 2)
    return match.start() - at if match else min(len(data) - at, HEADER + 1)
