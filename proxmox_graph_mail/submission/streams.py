"""Standard input, output and error by their descriptors: unbuffered, whatever of them is closed."""

import errno
import select

from proxmox_graph_mail import light_os as os
from proxmox_graph_mail import log
from proxmox_graph_mail.errors import SpoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 16


def occupy() -> None:
    """Open closed standard descriptors: the spool file must not become anybody's standard error."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)


def read(fd: int, *, dot_ends: bool) -> "Iterator[bytes]":
    """The input in chunks. A line with a single dot ends it only on a terminal: Proxmox never passes -i, and a log
    that holds such a line must not be cut there.

    Closed, or opened for writing only, is as good as empty. Raises SpoolError where reading fails in between: half a
    mail is none.
    """
    begun = False
    while True:
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            select.select([fd], [], [])  # the caller made it non-blocking; it is not at its end
            continue
        except OSError as error:
            if not begun and error.errno in (errno.EBADF, errno.EISDIR, errno.EINVAL):
                return
            raise SpoolError(f"cannot read standard input: {error.strerror}; the message was not accepted") from error
        if not chunk or (dot_ends and chunk == b".\n"):
            return
        begun = True
        yield chunk


def drain() -> None:
    """Read what the caller still wants to write: a program that gets EPIPE believes, or dies of, it."""
    if os.isatty(0):
        return
    try:
        for _ in read(0, dot_ends=False):
            pass
    except SpoolError:
        pass  # nothing more can be read


def say(text: str) -> None:
    """Write to standard output, if anybody listens."""
    try:
        write_out(text)
    except OSError:
        pass  # nobody does


def write_out(text: str) -> None:
    """Write to standard output. Raises OSError."""
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(1, data) :]


def complain(name: str, text: str) -> None:
    """One line on standard error."""
    try:
        os.write(2, f"{name}: {log.printable(text)}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody listens
