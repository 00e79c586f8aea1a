"""Two things done with small files: read one that somebody else may have placed, and replace one as a whole.

The fast path uses this, so it imports next to nothing. Both raise OSError, whose `filename` is the path.
"""

import errno

from proxmox_graph_mail import light_os as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOT_PLAIN = errno.ELOOP  # the error of what is not a plain file: a link (as O_NOFOLLOW has it), a FIFO, a directory, a device
JSON_LIMIT = 1 << 20  # bytes of a JSON file of our own
NAMED_LIMIT = 1 << 20  # bytes of a settings file, a certificate, an assertion
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_plain(path: str, flags: int = os.O_RDONLY, *, mode: int = 0o640, dir_fd: int | None = None) -> int:
    """A descriptor on a plain file: no link is followed, no FIFO waited for. A path relative to `dir_fd` where that is given."""
    try:
        fd = os.open(path, flags | _SAFE, mode, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (NOT_PLAIN, errno.ENXIO, errno.EISDIR):
            raise OSError(NOT_PLAIN, "not a plain file", path) from error
        raise
    if (os.fstat(fd).st_mode & 0o170000) != 0o100000:
        os.close(fd)
        raise OSError(NOT_PLAIN, "not a plain file", path)
    return fd


def read_plain(path: str, limit: int, *, dir_fd: int | None = None) -> bytes:
    """The first `limit` bytes of a plain file."""
    with open(open_plain(path, dir_fd=dir_fd), "rb") as file:
        return file.read(limit)


def read_named(path: object, limit: int = NAMED_LIMIT) -> bytes:
    """The first `limit` bytes of a file that an admin named: links are followed, but a FIFO or a device is not waited for."""
    fd = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        kind = os.fstat(fd).st_mode & 0o170000
        if kind != 0o100000:
            number = errno.EISDIR if kind == 0o040000 else errno.EINVAL
            raise OSError(number, "it is a directory" if kind == 0o040000 else "it is not a plain file", str(path))
        return file.read(limit)


def read_beginning(path: str, limit: int) -> bytes:
    """The same of few bytes, by one call: for who reads the beginnings of a hundred thousand files."""
    fd = open_plain(path)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)


def read_json(path: object) -> "dict[str, Any]":
    """The object in a JSON file of our own; empty where the file is absent or damaged: then what it knew is learnt again."""
    import json

    try:
        value = json.loads(read_plain(str(path), JSON_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_tail(path: str, limit: int, *, dir_fd: int | None = None) -> bytes:
    """The last `limit` bytes of a plain file."""
    with open(open_plain(path, dir_fd=dir_fd), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)


def replace(path: str, content: bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Let the file hold this content, whole and durable before it has its name; whoever reads it sees the old or the new.

    `owner` is (uid, gid), by default whoever runs this.
    """
    new = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}.new"
    try:
        try:
            os.unlink(new)  # an earlier process of this number was killed
        except FileNotFoundError:
            pass
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600), "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            if mode != 0o600:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
    except OSError as error:
        try:
            os.unlink(new)
        except OSError:
            pass  # never made, or the disk lets nothing be removed
        raise OSError(error.errno, error.strerror, path) from error
