"""Local root's mail and Proxmox's notification system: which mail is handed over, and when it is no longer waited for.

The hand-over itself is root's (proxmox/forward.py): the runner asks for it by a second name of the message (Spool.hand_over), and
learns from the message's log what came of it.
"""

import os
from collections.abc import Sequence

from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.host import Host
from proxmox_graph_mail.message.recipients import Directory
from proxmox_graph_mail.spool import Spool
from proxmox_graph_mail.submission import forwarding
from proxmox_graph_mail.submission.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.submission.header import HEADER_LIMIT, fields

ASKED = Outcome(Status.TRANSIENT, "being handed to Proxmox's notification system", forwarding.CODE)
HANDED = Outcome(Status.SENT, forwarding.DONE, forwarding.CODE)


def in_circle(envelope: Envelope, data: bytes, host: Host, service: int) -> bool:
    """Does a mail come from where local root's mail is handed to, so that it would come again and again?

    Proxmox forwards with `-N never`; what was handed over bears our Delivered-To; and what came by SMTP on localhost (the
    service user's own), as a target may send it, bears no mark at all.
    """
    if "never" in envelope.notify.lower() or envelope.uid == service != 0:
        return True
    ours = forwarding.delivered_to(host.fqdn).encode()
    return any(name == b"delivered-to" and value.lower() == ours.lower() for name, value in fields(data[:HEADER_LIMIT]))


def given_up(forwarded: tuple[str, float], now: float) -> bool:
    """Did Proxmox's notification system fail to take it, or not take it in time?"""
    state, since = forwarded
    return state == forwarding.FAILED or (state == forwarding.ASKED and not 0 <= now - since < forwarding.PATIENCE)


class HandOvers:
    """What of local root's mail can go on while Graph would refuse it: other targets of Proxmox's may work."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._others: set[str] = set()  # looked at, and not for local root
        self._unrecorded: set[str] = set()

    def forget(self) -> None:
        """The settings changed: who is to have which mail may be another."""
        self._others.clear()

    def unrecorded(self, queue_id: str) -> None:
        """The disk would not let it be written down that it was asked for: it goes directly, or it would be asked for again and
        again."""
        self._unrecorded.add(queue_id)

    def state(self, queue_id: str, recorded: tuple[str, float], now: float) -> tuple[str, float]:
        """How far a message's hand-over came, and when; `recorded` is what its log says."""
        return (forwarding.FAILED, now) if queue_id in self._unrecorded else recorded

    def instead(
        self, queue_id: str, directory: Directory | None, done: Sequence[str], recorded: tuple[str, float], now: float
    ) -> tuple[Outcome, Envelope] | None:  # fmt: skip
        """For a message that would be put off: ASKED, if it is local root's and not yet handed over; HANDED, if it was and is for
        nobody else; None, if neither."""
        if directory is None or queue_id in self._others:
            return None
        found = _instead(self._spool, queue_id, directory, done, self.state(queue_id, recorded, now), now)
        if found is None:
            self._others.add(queue_id)
        return found


def _instead(
    spool: Spool, queue_id: str, directory: Directory, done: Sequence[str], forwarded: tuple[str, float], now: float
) -> tuple[Outcome, Envelope] | None:  # fmt: skip
    if not directory.forward or given_up(forwarded, now):
        return None
    try:
        with open(spool.open(queue_id), "rb") as file:
            envelope = decode(file.readline(LINE_LIMIT))
            head = file.read(HEADER_LIMIT)
    except (DataError, SpoolError, OSError):
        return None
    people = {address for recipient in envelope.recipients for address in directory.resolve(recipient)[0]}
    if forwarding.LOCAL_ROOT not in people or in_circle(envelope, head, directory.host, os.stat(spool.root).st_uid):
        return None
    if forwarding.LOCAL_ROOT not in done:
        return ASKED, envelope
    if people == {forwarding.LOCAL_ROOT}:
        return HANDED, envelope
    return None
