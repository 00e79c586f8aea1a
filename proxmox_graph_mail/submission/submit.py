"""Submitting a message by the submit socket, for those who may not write the spool.

The protocol is one exchange on a stream socket. The receiver says `ready`; the client a line of JSON (envelope fields
and the size), then exactly that many bytes; the answer is `queued ID` or `refused STATUS REASON`, and with `wait` a
second line `outcome STATUS REASON`. Every step is bounded, so that a receiver that hangs costs seconds, never a
caller's hour.

Before `ready` nothing was submitted: a connection that ends there (systemd drops those over the limits of the
socket, and an upgrade restarts it) is made again, for a while.
"""

import _socket
import time
from _json import encode_basestring_ascii as _quote
from _struct import pack

from proxmox_graph_mail import light_os as os
from proxmox_graph_mail.errors import EX_TEMPFAIL, ReceptionError
from proxmox_graph_mail.spool.envelope import Envelope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT = 10.0  # seconds each step may take: a receiver's start, sending a chunk, the answer (which waits for two fsyncs)
BUSY = 60.0
"""Seconds in which a connection is made anew, where the socket is there but has no receiver for us: 200 mails of one user at
once take some 10 s."""
ROOT_BUSY = 10.0  # the same for root (in a sandbox): a minute's hang of Proxmox' HA manager fences the node
ABSENT = 2.0  # seconds in which it is, where the socket is not: an upgrade may be restarting it
ANSWER_LIMIT = 4096


def submit(run: str, envelope: Envelope, message: bytes, *, wait: float = 0.0) -> "Receipt":
    """Give a message to reception and return its receipt, once it is safe.

    With `wait` the receiver waits that many seconds for the outcome. Raises ReceptionError if nobody answers
    (temporary) or the receiver refuses (with the status it gives).
    """
    recipients = ",".join([_quote(recipient) for recipient in envelope.recipients])
    request = (
        f'{{"sender":{_quote(envelope.sender)},"recipients":[{recipients}],"full_name":{_quote(envelope.full_name)},'
        f'"notify":{_quote(envelope.notify)},"body":{_quote(envelope.body)},"wait":{wait:.1f},"size":{len(message)}}}\n'
    ).encode("ascii")
    path = f"{run}/submit"
    if os.getuid() == 0 and os.path.exists(f"{path}-root"):
        path += "-root"  # which nobody else can crowd
    connection = _receiver(path)
    try:
        receipt = Receipt()
        try:
            connection.sendall(request)
            connection.sendall(message)
        except OSError as error:
            # A refusal may come before the last byte went out: read it rather than guess.
            if not receipt.read(connection):
                raise ReceptionError(f"the submit socket {path} closed the connection ({error.strerror or error})") from error
        else:
            receipt.read(connection)
            if wait and receipt.first.startswith("queued "):
                connection.settimeout(wait + TIMEOUT)
                receipt.read(connection)
    finally:
        connection.close()
    verdict, _, rest = receipt.first.partition(" ")
    if verdict == "queued" and rest:
        return receipt
    if verdict == "refused":
        status, _, reason = rest.partition(" ")
        raise ReceptionError(reason, int(status) if status.isdigit() else EX_TEMPFAIL)
    raise ReceptionError(f"the submit socket {path} gave no answer within {TIMEOUT:.0f} s; the message may still be delivered")


def own_mail(run: str) -> "dict[str, Any]":
    """This user's own mail, and how much there is besides (mailq.of_user). Raises ReceptionError."""
    import json  # not for the fast path

    connection = _receiver(f"{run}/submit")
    answer = bytearray()
    try:
        connection.sendall(b'{"list": true}\n')
        while chunk := connection.recv(1 << 16):
            answer += chunk
    except OSError as error:
        raise ReceptionError(
            f"the receiver does not list your mail ({error.strerror or 'it does not answer'}); try again"
        ) from error
    finally:
        connection.close()
    word, _, rest = bytes(answer).partition(b" ")
    if word != b"listed":
        raise ReceptionError("the receiver does not list your mail; only root and the service user see all of the queue")
    listed: dict[str, Any] = json.loads(rest)
    return listed


def _receiver(path: str) -> _socket.socket:
    """A connection whose other end is ready to take a message."""
    begun = time.monotonic()
    patience = ROOT_BUSY if os.getuid() == 0 else BUSY
    pause = 0.02
    while True:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        seconds = min(TIMEOUT, max(begun + patience - time.monotonic(), 1.0))
        absent: OSError | None = None
        try:
            # Not by settimeout: a connect that does not block would not queue for a place in a full backlog, and whoever
            # floods it would always be first. The kernel lets those that block in by turns (unix(7), SO_SNDTIMEO).
            connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, pack("@ll", int(seconds), 0))
            connection.connect(path)
            connection.settimeout(seconds)
            if Receipt().read(connection):
                connection.settimeout(TIMEOUT)
                return connection
        except BlockingIOError:
            pass  # too many wait to be accepted
        except OSError as error:
            absent = error
        connection.close()
        if absent is not None:
            path = path.removesuffix("-root")  # root's own may be absent alone
        waited = time.monotonic() - begun
        if absent is not None and waited > ABSENT:
            raise ReceptionError(
                f"the submit socket {path} does not answer ({absent.strerror or absent}); "
                "is proxmox-graph-mail-submit.socket running?"
            ) from absent
        if waited > patience:
            raise ReceptionError(
                f"the submit socket {path} had no receiver for this mail within {patience:.0f} s: too many at once"
            )
        # Of many that wait, each comes back at another time, and the more seldom the more there are.
        time.sleep(pause * (0.5 + os.urandom(1)[0] / 256))
        pause = min(pause * 1.5, 1.0)


class Receipt:
    """The lines a receiver answered so far."""

    def __init__(self) -> None:
        self._text = b""

    @property
    def first(self) -> str:
        """`queued ID` or `refused STATUS REASON`; empty if none came."""
        return self._line(0)

    @property
    def queue_id(self) -> str:
        """The ID of `queued ID`."""
        return self.first.partition(" ")[2]

    @property
    def outcome(self) -> tuple[int, str] | None:
        """Status and reason of `outcome STATUS REASON`, if it came."""
        word, _, rest = self._line(1).partition(" ")
        status, _, reason = rest.partition(" ")
        return (int(status), reason) if word == "outcome" and status.isdigit() else None

    def read(self, connection: _socket.socket) -> bool:
        """Read one line more; False if the other end said nothing more in time."""
        lines = self._text.count(b"\n")
        while self._text.count(b"\n") == lines and len(self._text) < ANSWER_LIMIT:
            try:
                chunk = connection.recv(ANSWER_LIMIT)
            except OSError:
                return False
            if not chunk:
                return False
            self._text += chunk
        return True

    def _line(self, number: int) -> str:
        lines = self._text.split(b"\n")
        return lines[number].decode("utf-8", "replace") if number < len(lines) - 1 else ""
