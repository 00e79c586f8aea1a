"""Standard input → safe: the one place where a message enters the spool, for sendmail, SMTP, reception and our own mail alike.

`take` writes the spool itself where this user may, and otherwise submits the message by the socket. Either
way it returns only when the mail is safe, with its queue ID, and every acceptance is one line in syslog.
"""

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import ReceptionError, SpoolAccessError, SpoolError, TooLargeError
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.incoming import Incoming
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.submission.submit import Receipt, submit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Taken:
    """A message that is safe: its ID, and the receipt if it went by the socket."""

    __slots__ = ("id", "receipt")

    def __init__(self, queue_id: str, receipt: Receipt | None) -> None:
        self.id = queue_id
        self.receipt = receipt


def take(spool: Spool, run: str, envelope: Envelope, chunks: "Iterable[bytes]", *, wait: float = 0.0) -> Taken:
    """Make the message safe, by the spool or by the socket.

    Raises DataError, SpoolError, ReceptionError or TooLargeError; then nothing is queued. The chunks may be read only in
    part by then: the caller drains its input.
    """
    line = envelope.encode()
    try:
        incoming = spool.accept(line)
    except SpoolAccessError as denied:  # only here: once chunks are read, another way would lose them
        return _submit(run, envelope, chunks, wait, denied)
    return Taken(_fill(spool, incoming, envelope, chunks), None)


def store(spool: Spool, envelope: Envelope, chunks: "Iterable[bytes]", *, quota: bool = True) -> str:
    """Write the message into the spool, make it safe, log it, and return its queue ID; our own mail has no quota."""
    return _fill(spool, spool.accept(envelope.encode()), envelope, chunks, quota=quota)


def _fill(spool: Spool, incoming: Incoming, envelope: Envelope, chunks: "Iterable[bytes]", *, quota: bool = True) -> str:
    try:
        limits = None
        if quota and envelope.uid != 0:  # alarms are root's: it is not asked
            from proxmox_graph_mail.submission.quota import Quota

            limits = Quota(spool, envelope.uid)
        for chunk in chunks:
            _check_size(incoming.size + len(chunk))
            if limits is not None:
                limits.grow(len(chunk))
            incoming.write(chunk)
        if limits is not None:
            limits.settle(incoming.size + incoming.line, len(envelope.recipients))
    except BaseException:  # a signal's exception too: nothing half-written stays
        incoming.discard()
        raise
    queue_id = incoming.commit()
    nrcpt = len(envelope.recipients)
    log.line(f"{queue_id}: from=<{envelope.sender}>, uid={envelope.uid}, size={incoming.size}, nrcpt={nrcpt}")
    return queue_id


def _submit(run: str, envelope: Envelope, chunks: "Iterable[bytes]", wait: float, denied: SpoolAccessError) -> Taken:
    message = bytearray()
    for chunk in chunks:
        message += chunk
        _check_size(len(message))
    try:
        receipt = submit(run, envelope, bytes(message), wait=wait)
    except ReceptionError as error:
        if error.__cause__ is not None:  # nobody answered: the spool's own reason belongs to the story
            raise SpoolError(f"{denied}; {error}") from error
        raise
    return Taken(receipt.queue_id, receipt)


def _check_size(size: int) -> None:
    if size > (limit := paths.message_limit()):
        raise TooLargeError(f"the message is larger than {limit} bytes, more than any Exchange mailbox may send")
