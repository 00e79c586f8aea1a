"""One submission over the submit socket, from the receiver's side: who is it, what does he want, is it safe.

It trusts nothing of what it reads: the uid is the kernel's word (SO_PEERCRED), sizes and times are bounded, the envelope is
checked field by field, and one user's mail leaves room for the others' (quota). It answers `queued ID` only when the mail is
safe. A client that stalls or vanishes leaves nothing behind. submission/receiver.py accepts the connections.
"""

import json
import socket
import time

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import EX_TEMPFAIL, ClientGoneError, DataError, MailError
from proxmox_graph_mail.rfc822.addresses import is_recipient
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.wake import wake_or_pass
from proxmox_graph_mail.submission.intake import store
from proxmox_graph_mail.submission.peer import uid_by_unix_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LIST = b'{"list": true}'  # the request for one's own mail
TOTAL = 60.0  # seconds a whole message may take
FIRST_LINE = 2.0  # seconds in which the request must begin and end its line: `sendmail` has it ready before it connects
CHUNK = 1 << 16
LONGEST_WAIT = 60.0
RECIPIENT_LIMIT = 5000
"""Recipients of one message: more than any mailing list of a host, and no more than the queue runner reads in a moment."""


def serve(connection: socket.socket) -> int:
    """Take one message from a connection, and answer; the exit status of the process that serves it."""
    try:
        uid = uid_by_unix_socket(connection)
        try:
            answer = receive(connection, uid)
        except ClientGoneError as gone:  # its own doing; there is nobody to answer
            log.line(f"refused: {gone} (uid={uid})", log.WARNING)
            return EX_TEMPFAIL
        except MailError as error:
            log.line(f"refused: {error} (status {error.status}, uid={uid})", log.WARNING)
            answer = f"refused {error.status} {log.printable(str(error))}"
    except OSError as error:
        log.line(f"refused: {error.strerror} on the connection", log.WARNING)
        return EX_TEMPFAIL
    try:
        _send(connection, answer)
    except OSError as error:  # the log must not say that a mail was refused which is in the queue
        log.line(f"the client left before it was told: {answer} ({error.strerror or error})", log.WARNING)
        return EX_TEMPFAIL
    return 0


def receive(connection: socket.socket, uid: int) -> str:
    """Take one message; return the answer. Raises MailError if it is refused."""
    _send(connection, "ready")
    end = time.monotonic() + TOTAL
    line, rest = _request_line(connection, time.monotonic() + FIRST_LINE)
    spool = Spool()
    if line == LIST:
        from proxmox_graph_mail.submission.mailq import of_user

        return f"listed {json.dumps(of_user(spool, uid))}"
    envelope, size, wait = _request(line, uid)
    queue_id = store(spool, envelope, _content(connection, rest, size, end))
    wake_or_pass(spool, paths.run(), queue_id)
    if wait:
        from proxmox_graph_mail.spool.watch import wait_for

        _send(connection, f"queued {queue_id}")
        try:
            status, reason = wait_for(spool, queue_id, wait)
        except (MailError, OSError) as error:
            status, reason = EX_TEMPFAIL, f"cannot wait for its outcome ({error})"
        return f"outcome {status} {log.printable(reason)}"
    return f"queued {queue_id}"


def _request_line(connection: socket.socket, end: float) -> tuple[bytes, bytes]:
    data = bytearray()
    while b"\n" not in data[-CHUNK:]:
        if len(data) > LINE_LIMIT:
            raise DataError(f"the request is longer than {LINE_LIMIT} bytes")
        data += _receive(connection, end)
    line, _, rest = bytes(data).partition(b"\n")
    return line, rest


def _request(line: bytes, uid: int) -> tuple[Envelope, int, float]:
    try:
        asked = json.loads(line)
        sender, recipients, size, wait = asked["sender"], asked["recipients"], asked["size"], asked["wait"]
        full_name, notify, body = asked["full_name"], asked["notify"], asked.get("body", "")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError("the request is not of the submit socket's protocol") from error
    texts = [sender, full_name, notify, body, *(recipients if isinstance(recipients, list) else [None])]
    if not all(isinstance(text, str) and len(text) <= 2000 for text in texts):
        raise DataError("a field of the request has the wrong type or more than 2000 characters")
    if not 0 < len(recipients) <= RECIPIENT_LIMIT:
        raise DataError(f"the request must name from 1 to {RECIPIENT_LIMIT} recipients")
    if type(size) is not int or not 0 <= size <= paths.message_limit():
        raise DataError(f"the message's size must be from 0 to {paths.message_limit()} bytes")
    if not isinstance(wait, int | float) or not 0 <= wait <= LONGEST_WAIT:
        raise DataError(f"wait must be from 0 to {LONGEST_WAIT:.0f} seconds")
    envelope = Envelope(
        sender=sender, recipients=tuple(recipients), uid=uid, arrived=time.time(), full_name=full_name, notify=notify, body=body
    )
    if not any(is_recipient(recipient) for recipient in recipients):
        raise DataError(f"none of the recipients is a valid address: {' '.join(recipients)[:200]}")
    return envelope, size, float(wait)


def _content(connection: socket.socket, first: bytes, size: int, end: float) -> "Iterator[bytes]":
    """Exactly `size` bytes, the first of which came with the request."""
    if len(first) > size:
        raise DataError("more bytes than the request announced")
    if first:
        yield first
    missing = size - len(first)
    while missing:
        chunk = _receive(connection, end)
        if len(chunk) > missing:
            raise DataError("more bytes than the request announced")
        missing -= len(chunk)
        yield chunk


def _receive(connection: socket.socket, end: float) -> bytes:
    left = end - time.monotonic()
    if left <= 0:
        raise ClientGoneError("the client took too long")
    connection.settimeout(min(paths.receive_idle(), left))
    try:
        chunk = connection.recv(CHUNK)
    except TimeoutError:
        raise ClientGoneError(f"the client said nothing for {min(paths.receive_idle(), left):.0f} s") from None
    if not chunk:
        raise ClientGoneError("the client closed the connection before its message was complete")
    return chunk


def _send(connection: socket.socket, line: str) -> None:
    connection.settimeout(paths.receive_idle())
    connection.sendall(f"{line}\n".encode("utf-8", "backslashreplace"))
