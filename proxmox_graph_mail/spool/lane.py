"""Which mail goes before which: lanes, by who handed it in and what it says of itself.

Exchange Online takes 30 messages a minute from a mailbox, and lets the others wait in order of arrival ("Exchange Online limits",
sending limits). So what matters must go first, and here is the only place where anything can.
"""

import re
from enum import IntEnum

from proxmox_graph_mail.spool.envelope import Envelope

TRUSTED = frozenset((0, 34))
"""Uids that Proxmox hands its notifications in as: root, and on a Backup Server `backup` (Debian's uid, Policy 9.2.2)."""
_FIELD = re.compile(
    rb"^(importance|x-priority|priority)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)  # what is folded is none of these


class Lane(IntEnum):
    """In the order in which they go; `number` is what an admin reads."""

    ALARM = 10
    USERS_ALARM = 11
    NOTIFICATION = 20
    ROOT = 30
    USER = 40

    @property
    def number(self) -> int:
        """1 to 4."""
        return self // 10


USERS = (Lane.USERS_ALARM, Lane.USER)
WORDS = {
    Lane.ALARM: "alarm", Lane.USERS_ALARM: "alarm of a user", Lane.NOTIFICATION: "Proxmox's notification",
    Lane.ROOT: "root's mail", Lane.USER: "a user's mail",
}  # fmt: skip


def lane_of(envelope: Envelope, head: bytes, service: int) -> tuple[Lane, str]:
    """A message's lane, and why; `head` is its header section, `service` the service user's uid."""
    ours = envelope.uid in (0, service)
    if mark := urgent(head):
        return Lane.ALARM if ours else Lane.USERS_ALARM, mark
    if envelope.uid in (*TRUSTED, service) and handed_in_by_proxmox(envelope):
        return Lane.NOTIFICATION, "handed in as Proxmox's notification system does"
    return (Lane.ROOT, "root's, or this program's own") if ours else (Lane.USER, f"handed in by uid {envelope.uid}")


def handed_in_by_proxmox(envelope: Envelope) -> bool:
    """`sendmail -B 8BITMIME -f SENDER -- RECIPIENT…`, and nothing else (proxmox-sendmail; PVE::Tools)."""
    return envelope.body == "8BITMIME" and not envelope.full_name and not envelope.notify


def urgent(head: bytes) -> str:
    """The field that marks a message as urgent; empty if none does. As the parser has it: Importance before X-Priority before
    Priority."""
    found: dict[bytes, bytes] = {}
    for name, value in _FIELD.findall(head):
        found.setdefault(name.lower(), value.strip().lower())
    if (importance := found.get(b"importance")) in (b"high", b"normal", b"low"):
        return "Importance: high" if importance == b"high" else ""
    if mark := found.get(b"x-priority"):
        return f"X-Priority: {mark[:1].decode()}" if mark[:1] in (b"1", b"2") else ""
    return "Priority: urgent" if found.get(b"priority") == b"urgent" else ""
