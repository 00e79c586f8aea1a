"""The spool: queue/ and failed/, one message a file, and the instant from which a mail is safe.

    queue/.ID      being written; nobody but its writer looks at it. Its writer holds a flock on it
    queue/ID       safe, to be sent. mtime is the time of the next attempt; 0 means at once
    queue/.urge    an admin wants everything tried now, whatever was refused before; the runner removes it
    queue/ID.log   what happened to it so far: advisory, a line of JSON an event
    failed/ID      refused or too old: kept for the admin
    forward/ID     a second name of queue/ID, for root's unit, which hands it to Proxmox's notification system
    kept/ID        sent, but smaller than it was: the original, for KEPT_AGE
    lock           held (flock) by the one queue runner; never unlinked
    in-flight      what the queue runner has in hand, so that its successor knows what it died of

A file is one line (the envelope; this module does not read it) and the bytes exactly as submitted. It is written
as `.ID`, fsynced, renamed, the directory fsynced, and from then on never changed in place: rename, utime and
unlink are the only state changes, each atomic. So after a crash at any instant a message is absent (its submitter
was not told it was safe) or whole, in exactly one place. docs/architecture.md has the table.

Directories are 2770 and belong to the service user; nobody but it and root writes there. What is in them that is
no message (junk, foreign names, links, damaged files) is reported once and left alone.

Raises SpoolAccessError where this user may not write and SpoolError where the spool is absent, full or broken.
"""

import errno
import fcntl
import os

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.incoming import Incoming, sync_directory, translated

TYPE_CHECKING = False  # typing itself is too dear for the fast path
if TYPE_CHECKING:
    from collections.abc import Iterator

ID_LETTERS = frozenset("0123456789ABCDEF")
ID_LENGTH = 18
KEPT_AGE = 30 * 86400
"""Seconds for which the original of a mail that was sent smaller is kept."""
LOG_TAIL = 4 << 20
"""Bytes read of a message's log, from its end."""
FARTHEST = 86400.0
"""Seconds ahead that a next attempt may lie. What claims more was written under a wrong clock, and is due."""


def default_root() -> str:
    """`$PROXMOX_GRAPH_MAIL_SPOOL`, or the package's spool."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_SPOOL", "/var/spool/proxmox-graph-mail")


def is_id(name: str) -> bool:
    """Is `name` a queue ID? Nothing else of what a user types becomes part of a path."""
    return len(name) == ID_LENGTH and ID_LETTERS.issuperset(name)


class Entry:
    """One file of the queue as a scan sees it: its ID, when it is due (seconds since the epoch, 0: at once), its bytes."""

    __slots__ = ("due", "id", "size")

    def __init__(self, queue_id: str, due: float, size: int) -> None:
        self.id = queue_id
        self.due = due
        self.size = size

    def is_due(self, now: float) -> bool:
        """May it be tried at `now`?"""
        return self.due <= now or self.due > now + FARTHEST


class Spool:
    """The directories under one root, and every change of state a message can make in them."""

    def __init__(self, root: str | None = None) -> None:
        self.root = default_root() if root is None else root
        self.queue = f"{self.root}/queue"
        self.failed = f"{self.root}/failed"
        self.kept = f"{self.root}/kept"
        self.forward = f"{self.root}/forward"

    def create(self) -> None:
        """Make the directories where they are missing (the package's come from tmpfiles.d)."""
        try:
            for path in (self.root, self.queue, self.failed, self.kept, self.forward):
                if not os.path.isdir(path):
                    os.makedirs(path)
                    os.chmod(path, 0o2770)  # noqa: S103 - the service group's, and nobody else's
        except OSError as error:
            raise translated(error, path) from error

    def accept(self, line: bytes) -> Incoming:
        """Begin a message whose first line is `line`."""
        return Incoming(self.queue, line)

    def scan(self) -> list[Entry]:
        """The messages of the queue, oldest first."""
        found = []
        try:
            with os.scandir(self.queue) as files:
                for file in files:
                    if is_id(file.name):
                        try:
                            status = file.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue  # sent or removed meanwhile
                        if (status.st_mode & 0o170000) == 0o100000:
                            found.append(Entry(file.name, status.st_mtime, status.st_size))
        except OSError as error:
            raise translated(error, self.queue) from error
        found.sort(key=lambda entry: entry.id)
        return found

    def scan_failed(self) -> list[Entry]:
        """The messages of failed/, oldest first."""
        return Spool._of(self.root, self.failed).scan()

    def open(self, queue_id: str, *, failed: bool = False) -> int:
        """A file descriptor on the message. Raises SpoolError if it is no plain file, and OSError."""
        path = f"{self.failed if failed else self.queue}/{queue_id}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise SpoolError(f"{path} is no plain file") from error
            raise
        if (os.fstat(fd).st_mode & 0o170000) != 0o100000:
            os.close(fd)
            raise SpoolError(f"{path} is no plain file")
        return fd

    def due(self, queue_id: str) -> float | None:
        """The time of the next attempt, or None if the message is no longer in the queue."""
        try:
            return os.lstat(f"{self.queue}/{queue_id}").st_mtime
        except FileNotFoundError:
            return None

    def defer(self, queue_id: str, when: float) -> None:
        """Set the next attempt to `when`, seconds since the epoch; 0 is at once."""
        path = f"{self.queue}/{queue_id}"
        try:
            os.utime(path, (when, when), follow_symlinks=False)
        except FileNotFoundError:
            pass  # removed by an admin meanwhile
        except PermissionError:
            self._take_over(path, when)
        except OSError as error:
            raise translated(error, path) from error

    def fail(self, queue_id: str) -> None:
        """Move the message to failed/, with its log. Its bytes exist in exactly one place throughout."""
        self.take_back(queue_id)
        self._move(queue_id, self.queue, self.failed)

    def keep(self, queue_id: str, now: float) -> None:
        """Move a message that was sent smaller than it was to kept/, from `now` on."""
        try:
            os.makedirs(self.kept, 0o770, exist_ok=True)
        except OSError as error:
            raise translated(error, self.kept) from error
        if not os.path.lexists(f"{self.queue}/{queue_id}"):
            return  # removed by an admin meanwhile
        self._move(queue_id, self.queue, self.kept)
        try:
            os.utime(f"{self.kept}/{queue_id}", (now, now), follow_symlinks=False)
        except OSError:
            pass  # a file that root left its own: its mtime stays 0, and sweep goes by the time of the move

    def hand_over(self, queue_id: str) -> None:
        """Give a message of the queue its second name, in forward/."""
        try:
            os.link(f"{self.queue}/{queue_id}", f"{self.forward}/{queue_id}", follow_symlinks=False)
        except FileExistsError:
            pass
        except OSError as error:
            raise translated(error, self.forward) from error

    def take_back(self, queue_id: str) -> None:
        """Take the second name away, if it is still there."""
        try:
            os.unlink(f"{self.forward}/{queue_id}")
        except OSError:
            pass  # handed over, or never asked for; what cannot be removed at worst comes twice

    def locate(self, queue_id: str) -> str | None:
        """The path of a message wherever it is, or None."""
        paths = (f"{directory}/{queue_id}" for directory in (self.queue, self.failed, self.kept))
        return next((path for path in paths if is_id(queue_id) and os.path.lexists(path)), None)

    def requeue(self, queue_id: str) -> None:
        """Move the message from failed/ back into the queue, due at once."""
        os.utime(f"{self.failed}/{queue_id}", (0, 0), follow_symlinks=False)
        self._move(queue_id, self.failed, self.queue)

    def remove(self, queue_id: str, *, failed: bool = False) -> None:
        """Unlink the message (it was sent, or an admin said so) and its log, and make that durable."""
        directory = self.failed if failed else self.queue
        self.take_back(queue_id)
        try:
            os.unlink(f"{directory}/{queue_id}")
            sync_directory(directory)  # a mail that was sent must not come back with the power
        except FileNotFoundError:
            pass
        except OSError as error:
            raise translated(error, directory) from error
        try:
            os.unlink(f"{directory}/{queue_id}.log")
        except OSError:
            pass  # advisory; a later sweep takes it

    def append_log(self, queue_id: str, line: bytes, *, durable: bool = False, failed: bool = False) -> None:
        """Append one line to the message's log. Without `durable` a failure is no error: the log is advisory."""
        path = f"{self.failed if failed else self.queue}/{queue_id}.log"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
            try:
                os.write(fd, line)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if durable:
                raise translated(error, path) from error

    def read_log(self, queue_id: str, *, failed: bool = False) -> bytes:
        """What `append_log` wrote, its last LOG_TAIL bytes; empty if there is none, or something else in its place."""
        path = f"{self.failed if failed else self.queue}/{queue_id}.log"
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if (status.st_mode & 0o170000) != 0o100000:
                    return b""
                file.seek(max(0, status.st_size - LOG_TAIL))
                return file.read(LOG_TAIL)
        except OSError:
            return b""

    def urge(self) -> None:
        """Leave the mark that asks the runner to try everything now. The rename wakes one that watches the directory."""
        try:
            os.close(os.open(f"{self.queue}/.urge.new", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640))
            os.rename(f"{self.queue}/.urge.new", f"{self.queue}/.urge")
        except OSError as error:
            raise translated(error, self.queue) from error

    def take_urge(self) -> bool:
        """Was there such a mark? It is gone then."""
        try:
            os.unlink(f"{self.queue}/.urge")
        except OSError:
            return False
        return True

    def write_in_flight(self, text: bytes) -> None:
        """Replace what `read_in_flight` gives. A failure is no error: it is a precaution, not a state."""
        try:
            path = f"{self.root}/in-flight"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
            try:
                os.write(fd, text)
            finally:
                os.close(fd)
        except OSError:
            pass

    def read_in_flight(self) -> bytes:
        """What the last runner wrote with `write_in_flight`; empty if there is nothing to read."""
        try:
            with open(
                os.open(f"{self.root}/in-flight", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb"
            ) as file:
                return file.read(1 << 16)
        except OSError:
            return b""

    def lock(self, *, wait: bool = False) -> int | None:
        """Become the one queue runner: a descriptor that holds the lock until it is closed, or None if another has it."""
        path = f"{self.root}/lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
            if os.geteuid() == 0 and (owner := os.stat(self.root)).st_uid != 0 and os.fstat(fd).st_uid == 0:
                os.fchown(fd, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise translated(error, path) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError as error:
            os.close(fd)
            raise translated(error, path) from error
        return fd

    def owns_lock(self, fd: int) -> bool:
        """Does this inherited descriptor hold the lock?"""
        try:
            ours, named = os.fstat(fd), os.stat(f"{self.root}/lock")
            if (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino):
                return False
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    @classmethod
    def _of(cls, root: str, queue: str) -> "Spool":
        spool = cls(root)
        spool.queue = queue
        return spool

    def _move(self, queue_id: str, source: str, target: str) -> None:
        try:
            os.rename(f"{source}/{queue_id}", f"{target}/{queue_id}")
            # The log follows; after a crash in between, sweep lets it follow.
            if os.path.lexists(f"{source}/{queue_id}.log"):
                os.rename(f"{source}/{queue_id}.log", f"{target}/{queue_id}.log")
            sync_directory(target)
            sync_directory(source)
        except OSError as error:
            raise translated(error, target) from error

    def _take_over(self, path: str, when: float) -> None:
        """Replace a file that root left its own by an equal one of ours, and set its time."""
        directory, name = path.rsplit("/", 1)
        copy = f"{directory}/.{name}"
        try:
            with open(path, "rb") as source, open(copy, "wb", opener=_private) as target:
                for chunk in _chunks(source.fileno()):
                    target.write(chunk)
                target.flush()
                os.utime(target.fileno(), (when, when))
                os.fsync(target.fileno())
            os.rename(copy, path)
            sync_directory(directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise translated(error, path) from error


def _chunks(fd: int) -> "Iterator[bytes]":
    while chunk := os.read(fd, 1 << 16):
        yield chunk


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
