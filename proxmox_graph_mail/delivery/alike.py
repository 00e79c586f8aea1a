"""What the index learns of a message from its beginning: whose it is, its lane, and what it is like.

Alike is what one program says again and again: the same submitter, sender and recipients, and the same subject once what differs
from time to time is masked (numbers, hexadecimal IDs, UUIDs, the names of days and months).
"""

import re
from hashlib import blake2b

from proxmox_graph_mail.delivery.queued import Queued
from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.files import read_beginning
from proxmox_graph_mail.message.charset import raw_header, unfolded
from proxmox_graph_mail.rfc822.header import header_of
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, TEST, Envelope, decode, uid_of
from proxmox_graph_mail.spool.lane import Lane, lane_of
from proxmox_graph_mail.spool.owner import owner_of
from proxmox_graph_mail.spool.store import Spool

BEGINNING = 16 << 10  # bytes of a message's file that are read: its first line, and its header as far as it matters
_SUBJECT = re.compile(rb"^subject[ \t]*:[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_CHANGING = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b(?:0x)?(?=[a-f]*\d)[0-9a-f]{6,}\b|\d+"
    r"|\b(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\b"
    r"|\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b|\b[ap]m\b",
    re.IGNORECASE,
)
_ROW = re.compile(r"#[#\s:.,/T+-]*#|#")


def look_into(spool: Spool, message: Queued, service: int) -> None:
    """Read a message's beginning; what cannot be read is seen when it is tried. `service` is the service user's uid."""
    try:
        beginning = read_beginning(f"{spool.queue}/{message.id}", BEGINNING)
        if b"\n" not in beginning:  # many recipients, or a digest's members
            beginning = read_beginning(f"{spool.queue}/{message.id}", LINE_LIMIT + BEGINNING)
    except (SpoolError, OSError):
        return  # damaged, or gone meanwhile
    line, _, data = beginning.partition(b"\n")
    uid = uid_of(line)
    message.uid = owner_of(uid)
    message.lane = Lane.ROOT if uid in (0, service) else Lane.USER
    try:
        envelope = decode(line)
    except DataError:
        return
    head = header_of(data)
    message.lane, _ = lane_of(envelope, head, service)
    message.members = envelope.members
    message.alike = 0 if envelope.members or envelope.protocol == TEST else alike(envelope, head)


def alike(envelope: Envelope, head: bytes) -> int:
    """A number that only what is alike shares, on every host and in every run; never 0."""
    found = _SUBJECT.search(head)
    subject = masked(unfolded(raw_header(found[1]))) if found else ""
    telling = "\0".join((str(envelope.uid), envelope.sender, *sorted(envelope.recipients), subject))
    return int.from_bytes(blake2b(telling.encode("utf-8", "replace"), digest_size=8).digest()) | 1


def masked(subject: str) -> str:
    """A subject without what differs from one time to the next."""
    return _ROW.sub("#", _CHANGING.sub("#", subject)).casefold().strip()
