"""A message's place in the spool, and the changes of its state: accept, defer, fail, keep, requeue, remove.

spool/__init__.py draws the directories. Raises SpoolAccessError where this user may not write and SpoolError where the spool is
absent, full or broken.
"""

from proxmox_graph_mail import light_os as os
from proxmox_graph_mail import paths
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.files import NOT_PLAIN, open_plain
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.spool.incoming import Incoming, sync_directory, translated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NOW, AT_ONCE = "", "-at-once"
"""How an admin urges: at the mailbox's pace, or at whatever pace Graph takes."""
ID_LETTERS = frozenset("0123456789ABCDEF")
ID_LENGTH = 18
KEPT_AGE = 30 * 86400  # seconds for which the original of a mail that was sent smaller is kept
FARTHEST = 86400.0  # seconds ahead that a next attempt may lie. What claims more was written under a wrong clock, and is due.


def is_id(name: str) -> bool:
    """Is `name` a queue ID? Nothing else of what a user types becomes part of a path."""
    return len(name) == ID_LENGTH and ID_LETTERS.issuperset(name)


def arrival(queue_id: str) -> float:
    """When a message was submitted, in seconds since the epoch: its queue ID begins with it."""
    return int(queue_id[:13], 16) / 1e6


class Entry:
    """One file of the queue as a scan sees it: its ID, when it is due (seconds since the epoch, 0: at once), and its
    bytes."""

    __slots__ = ("due", "id", "size")

    def __init__(self, queue_id: str, due: float, size: int) -> None:
        self.id = queue_id
        self.due = due
        self.size = size


class Spool:
    """The directories under one root, and every change of state a message can make in them."""

    def __init__(self, root: str | None = None) -> None:
        self.root = paths.spool() if root is None else root
        self.queue = f"{self.root}/queue"
        self.failed = f"{self.root}/failed"
        self.kept = f"{self.root}/kept"
        self.hand_over = f"{self.root}/hand-over"

    def create(self) -> None:
        """Make the directories where they are missing (the package's come from tmpfiles.d)."""
        try:
            for path in (self.root, self.queue, self.failed, self.kept, self.hand_over):
                if not os.path.isdir(path):
                    os.makedirs(path)
                    os.chmod(path, 0o2770)
        except OSError as error:
            raise translated(error, path) from error

    def accept(self, line: bytes) -> Incoming:
        """Begin a message whose first line is `line`."""
        return Incoming(self.queue, line)

    def scan(self) -> list[Entry]:
        """The messages of the queue, oldest first."""
        return sorted(self.entries(), key=lambda entry: entry.id)

    def entries(self, tried: "set[str] | None" = None) -> "Iterator[Entry]":
        """The messages of the queue, as the directory has them; `tried` gets the queue IDs that have a journal."""
        try:
            with os.scandir(self.queue) as files:
                for file in files:
                    if is_id(file.name) and (entry := self.entry(file.name)) is not None:
                        yield entry
                    elif tried is not None and file.name[ID_LENGTH:] == ".log":
                        tried.add(file.name[:ID_LENGTH])
        except OSError as error:
            raise translated(error, self.queue) from error

    def entry(self, queue_id: str) -> Entry | None:
        """One message of the queue; None if it is gone, or is none."""
        try:
            status = os.lstat(f"{self.queue}/{queue_id}")
        except OSError:
            return None
        # Most are due at once: one object stands for all their times.
        return Entry(queue_id, status.st_mtime or 0.0, status.st_size) if (status.st_mode & 0o170000) == 0o100000 else None

    def scan_failed(self) -> list[Entry]:
        """The messages of failed/, oldest first."""
        return Spool.of(self.root, self.failed).scan()

    def count_failed(self) -> int:
        """How many messages are in failed/; they are not looked at."""
        try:
            with os.scandir(self.failed) as files:
                return sum(is_id(file.name) for file in files)
        except OSError as error:
            raise translated(error, self.failed) from error

    def open(self, queue_id: str, *, failed: bool = False) -> int:
        """A file descriptor on the message. Raises SpoolError if it is no plain file, and OSError."""
        path = f"{self.failed if failed else self.queue}/{queue_id}"
        try:
            return open_plain(path)
        except OSError as error:
            if error.errno == NOT_PLAIN:
                raise SpoolError(f"{path} is not a plain file") from error
            raise

    def envelope(self, queue_id: str, *, failed: bool = False) -> tuple[Envelope, int]:
        """The envelope of a message and the bytes its line takes. Raises FileNotFoundError, DataError or SpoolError."""
        with open(self.open(queue_id, failed=failed), "rb") as file:
            line = file.readline(LINE_LIMIT)
        return decode(line), len(line)

    def size(self, queue_id: str) -> int:
        """The bytes of a message of the queue, with its envelope; 0 if it is gone."""
        entry = self.entry(queue_id)
        return entry.size if entry is not None else 0

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
        self.withdraw_hand_over(queue_id)
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

    def ask_hand_over(self, queue_id: str) -> None:
        """Give a message of the queue its second name, in hand-over/: root's unit is to see to it."""
        try:
            os.link(f"{self.queue}/{queue_id}", f"{self.hand_over}/{queue_id}", follow_symlinks=False)
        except FileExistsError:
            pass
        except OSError as error:
            raise translated(error, self.hand_over) from error

    def withdraw_hand_over(self, queue_id: str) -> None:
        """Take the second name away, if it is still there."""
        try:
            os.unlink(f"{self.hand_over}/{queue_id}")
        except OSError:
            pass  # handed over, or never asked for; what cannot be removed at worst comes twice

    def locate(self, queue_id: str) -> str | None:
        """The path of a message wherever it is, or None."""
        paths = (f"{directory}/{queue_id}" for directory in (self.queue, self.failed, self.kept))
        return next((path for path in paths if is_id(queue_id) and os.path.lexists(path)), None)

    def requeue(self, queue_id: str) -> None:
        """Move the message from failed/ back into the queue, due at once."""
        os.utime(f"{self.failed}/{queue_id}", (0, 0), follow_symlinks=False)
        self._move_journal(queue_id, self.failed, self.queue)  # first: whoever sees the message sees who has it already
        self._move(queue_id, self.failed, self.queue)

    def remove(self, queue_id: str, *, failed: bool = False, durable: bool = True) -> None:
        """Unlink the message (it was sent, or an admin said so) and its log. Without `durable` it may come back with the power
        until `sync` is called."""
        directory = self.failed if failed else self.queue
        self.withdraw_hand_over(queue_id)
        try:
            os.unlink(f"{directory}/{queue_id}")
            if durable:
                sync_directory(directory)
        except FileNotFoundError as error:
            if not os.path.isdir(directory):  # unmounted: the message may be there again in a moment
                raise translated(error, directory) from error
        except OSError as error:
            raise translated(error, directory) from error
        try:
            os.unlink(f"{directory}/{queue_id}.log")
        except OSError:
            pass  # advisory; a later sweep takes it

    def sync(self) -> None:
        """Make durable what was removed from the queue: a mail that was sent must not come back with the power."""
        try:
            sync_directory(self.queue)
        except OSError as error:
            raise translated(error, self.queue) from error

    def urge(self, how: str = NOW) -> None:
        """Leave the mark that asks the runner to try everything now, at whatever pace with AT_ONCE. The rename wakes one that
        watches the directory."""
        try:
            # By descriptor: root does this too, and the spool is the service user's to put a link in the queue's place.
            directory = os.open(self.queue, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                os.close(os.open(f".urge{how}.new", flags, 0o640, dir_fd=directory))
                os.rename(f".urge{how}.new", f".urge{how}", src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise translated(error, self.queue) from error

    def take_urge(self) -> str | None:
        """NOW or AT_ONCE if there was such a mark; it is gone then."""
        found = None
        for how in (NOW, AT_ONCE):
            try:
                os.unlink(f"{self.queue}/.urge{how}")
                found = how
            except OSError:
                pass
        return found

    @classmethod
    def of(cls, root: str, queue: str) -> "Spool":
        """The spool as if its queue were another of its directories."""
        spool = cls(root)
        spool.queue = queue
        return spool

    def _move(self, queue_id: str, source: str, target: str) -> None:
        try:
            os.rename(f"{source}/{queue_id}", f"{target}/{queue_id}")
            self._move_journal(queue_id, source, target)
            sync_directory(target)
            sync_directory(source)
        except OSError as error:
            raise translated(error, target) from error

    def _move_journal(self, queue_id: str, source: str, target: str) -> None:
        # After a crash between this and the message's own move, sweep puts the two together again.
        try:
            os.rename(f"{source}/{queue_id}.log", f"{target}/{queue_id}.log")
        except FileNotFoundError:
            pass  # none was written
        except OSError as error:
            raise translated(error, target) from error

    def _take_over(self, path: str, when: float) -> None:
        """Replace a file that root left its own by an equal one of ours, and set its time."""
        directory, name = path.rsplit("/", 1)
        copy = f"{directory}/.{name}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with open(open_plain(path), "rb") as source, open(open_plain(copy, flags), "wb") as target:
                while chunk := source.read(1 << 16):
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
