"""A small SMTP dialogue (RFC 5321), for callers that speak only that: sendmail -bs, and the receiver's on localhost.

It takes a message exactly as `sendmail` does: `250` after DATA means the mail is safe. Over a socket CRLF alone ends a line, and
CRLF.CRLF alone a message: a program that passes on what others wrote must not let them smuggle a second mail in (RFC 5321 2.3.8,
4.1.1.4). A program that pipes its own dialogue may end its lines by LF (LSB); then LF.LF ends the message. There is no relaying
to guard, every client is a local program; what is bounded is line length, the number of recipients and of errors, and silence.
"""

import os
import select
import time

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL, ClientGoneError, DataError, MailError
from proxmox_graph_mail.rfc822.addresses import addresses, is_recipient
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.wake import wake_or_pass
from proxmox_graph_mail.submission.intake import take

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

IDLE = 300  # seconds of silence after which the dialogue ends (RFC 5321 4.5.3.2.7)
COMMAND_LIMIT = 4096
RECIPIENT_LIMIT = 5000
ERROR_LIMIT = 10  # replies of 5xx after which the dialogue ends
HTTP = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""A browser that was led here speaks these; it must not go on to speak SMTP in its request's body."""


class _Lines:
    """The input as lines, each with its line end, of at most `limit` bytes at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0

    def next(self, limit: int) -> bytes:
        while True:
            end = self._buffer.find(b"\n", self._at, self._at + limit) + 1
            if end or len(self._buffer) - self._at >= limit:
                line = self._buffer[self._at : end or self._at + limit]
                self._at += len(line)
                return line
            if not select.select([0], [], [], IDLE)[0]:
                raise ClientGoneError("the client left, or said nothing for five minutes")
            chunk = os.read(0, 1 << 16)
            if not chunk:
                raise ClientGoneError("the client left, or said nothing for five minutes")
            self._buffer = self._buffer[self._at :] + chunk
            self._at = 0


def serve(connection: "socket.socket", uid: int) -> int:
    """Speak over a connection; the exit status of the process that serves it."""
    for fd in (0, 1):
        os.dup2(connection.fileno(), fd)
    return dialogue(Spool(), paths.run(), uid)


def dialogue(spool: Spool, run_directory: str, uid: int) -> int:
    """Speak on standard input and output, with this user, until QUIT, end of input or silence; return the exit status."""
    log.setup("smtp", severity=log.NOTICE)  # like the receiver's: the socket unit's log shows ours, not systemd's
    session = _Session(spool, run_directory, uid)
    try:
        session.converse()
    except (ClientGoneError, OSError):
        return EX_TEMPFAIL if session.sender is not None else EX_OK
    return EX_OK


class _Session:
    def __init__(self, spool: Spool, run_directory: str, uid: int) -> None:
        self.sender: str | None = None
        self.recipients: list[str] = []
        self._spool = spool
        self._run = run_directory
        self._uid = uid
        self._lines = _Lines()
        self._host = os.uname().nodename
        self._greeted = False
        self._errors = 0
        self._socket = (os.fstat(0).st_mode & 0o170000) == 0o140000
        self._newline = b"\r\n"

    def converse(self) -> None:
        self._say(f"220 {self._host} ESMTP proxmox-graph-mail")
        while self._errors < ERROR_LIMIT:
            raw = self._lines.next(COMMAND_LIMIT)
            if not raw.endswith(b"\n"):
                while not self._lines.next(COMMAND_LIMIT).endswith(b"\n"):
                    pass
                self._say("500 5.5.2 Error: line too long")
                continue
            self._newline = b"\r\n" if raw.endswith(b"\r\n") else b"\n"
            if self._is_odd(raw):
                self._say("500 5.5.2 Error: a bare CR or LF, or a control character, in a command")
                continue
            verb, _, rest = raw.decode("utf-8", "surrogateescape").strip().partition(" ")
            verb = verb.upper()
            if verb == "QUIT" or verb in HTTP:
                self._say("221 2.0.0 Bye")
                self.sender = None
                return
            try:
                self._command(verb, rest.strip())
            except DataError as error:
                self._say(f"501 5.1.3 Error: {log.printable(str(error))}")

        self._say("421 4.7.0 Error: too many errors")

    def _is_odd(self, raw: bytes) -> bool:
        """Is there something in a command's line that ends or colours lines elsewhere?"""
        text = raw.removesuffix(self._newline).decode("utf-8", "surrogateescape")
        return (self._socket and self._newline == b"\n") or any(c < " " or "\x7f" <= c <= "\x9f" for c in text if c != "\t")

    def _command(self, verb: str, rest: str) -> None:
        if verb in ("HELO", "EHLO"):
            self._reset()
            self._greeted = True
            if verb == "HELO":
                self._say(f"250 {self._host}")
            else:
                self._say(
                    f"250-{self._host}", "250-PIPELINING", f"250-SIZE {paths.message_limit()}", "250-8BITMIME",
                    "250-SMTPUTF8", "250 ENHANCEDSTATUSCODES",
                )  # fmt: skip
        elif verb == "MAIL":
            self._mail(rest)
        elif verb == "RCPT":
            self._rcpt(rest)
        elif verb == "DATA":
            self._data()
        elif verb == "RSET":
            self._reset()
            self._say("250 2.0.0 Ok")
        elif verb == "NOOP":
            self._say("250 2.0.0 Ok")
        elif verb == "VRFY":
            self._say("252 2.0.0 Send the mail, and the queue runner will see")
        elif verb == "HELP":
            self._say("214 2.0.0 EHLO MAIL RCPT DATA RSET NOOP VRFY QUIT; see sendmail(8)")
        else:
            self._say("502 5.5.2 Error: command not recognized")

    def _mail(self, rest: str) -> None:
        path, parameters = _path("FROM:", rest)
        if self.sender is not None:
            self._say("503 5.5.1 Error: nested MAIL command")
        elif path is None:
            self._say("501 5.5.4 Syntax: MAIL FROM:<address>")
        elif any(_too_large(parameter) for parameter in parameters.split()):
            self._say(f"552 5.3.4 Error: the message is larger than {paths.message_limit()} bytes")
        else:
            self.sender = path
            self._say("250 2.1.0 Ok")

    def _rcpt(self, rest: str) -> None:
        path, _ = _path("TO:", rest)
        if self.sender is None:
            self._say("503 5.5.1 Error: need MAIL command")
        elif path is None or not is_recipient(path):
            self._say("501 5.1.3 Error: bad recipient address; syntax: RCPT TO:<address>")
        elif len(self.recipients) >= RECIPIENT_LIMIT:
            self._say("452 4.5.3 Error: too many recipients")
        else:
            self.recipients.append(path)
            self._say("250 2.1.5 Ok")

    def _data(self) -> None:
        if not self.recipients:
            self._say("503 5.5.1 Error: need RCPT command" if self.sender is not None else "503 5.5.1 Error: need MAIL command")
            return
        self._say("354 End data with <CR><LF>.<CR><LF>")
        content = self._content()
        try:
            envelope = Envelope(
                sender=self.sender or "", recipients=tuple(dict.fromkeys(self.recipients)), uid=self._uid, arrived=time.time(),
                protocol="smtp",
            )  # fmt: skip
            taken = take(self._spool, self._run, envelope, content)
        except ClientGoneError:
            raise
        except MailError as error:
            for _ in content:  # read to the dot, so that the answer is heard
                pass
            log.line(f"refused: {error} (status {error.status}, uid={self._uid})", log.WARNING)
            self._say(f"{'451 4.3.0' if error.temporary else '554 5.3.0'} Error: {log.printable(str(error))}")
        else:
            if taken.receipt is None:
                wake_or_pass(self._spool, self._run, taken.id)
            self._say(f"250 2.0.0 Ok: queued as {taken.id}")
        self._reset()

    def _content(self) -> "Iterator[bytes]":
        """The message up to the line with a single dot, dots unstuffed (RFC 5321 4.5.2); lines end as the DATA command's did."""
        begins, newline, end = True, self._newline, b""
        while True:
            line = self._lines.next(1 << 16)
            if begins:
                if line == b"." + newline:
                    return
                line = line.removeprefix(b".")
            end = (end + line)[-2:]
            begins = end.endswith(newline)
            yield line

    def _reset(self) -> None:
        self.sender = None
        self.recipients = []

    def _say(self, *lines: str) -> None:
        self._errors += lines[-1].startswith("5")
        data = "".join([f"{line}\r\n" for line in lines]).encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(1, data) :]


def _path(keyword: str, rest: str) -> tuple[str | None, str]:
    """The address of `FROM:<a@x> PARAMETERS`, with or without the angle brackets; None if there is none."""
    if rest[: len(keyword)].upper() != keyword:
        return None, ""
    rest = rest[len(keyword) :].strip()
    path, _, parameters = rest[1:].partition(">") if rest.startswith("<") else rest.partition(" ")
    if rest.startswith("<") and ">" not in rest:
        return None, ""
    if not path.strip():
        return "", parameters
    return next(iter(addresses(f"<{path}>")), None), parameters


def _too_large(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.upper() == "SIZE" and value.isdigit() and int(value) > paths.message_limit()
