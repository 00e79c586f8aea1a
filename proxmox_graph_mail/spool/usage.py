"""What each user's mail takes of the spool and of the mailbox: counted as it comes and goes, so that nobody looks into every file
to know it.

    SPOOL/users/UID         one line: messages in queue/; bytes in queue/, failed/ and kept/ together; when that was last counted;
                            then HOUR:N, recipients of what was accepted in that hour (since 1970), for the last 24; and
                            refused:TIME, when a message was last refused for their number
    SPOOL/daily-recipients  how many recipients in 24 hours the settings grant a user: the queue runner writes it, for those who
                            accept mail may not read settings

The count errs on the high side: what comes is added before it is safe, what goes is taken off after it has gone, and what an
admin removes is not. So whoever would be refused for it is counted anew first, by looking at every file; and so is who has no
such line yet. Bytes are whole blocks of the disk, as each message and its journal take them.
"""

import fcntl
import os
import time

from proxmox_graph_mail import log
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.files import open_plain, read_beginning, replace
from proxmox_graph_mail.spool.envelope import UID_WITHIN, uid_of
from proxmox_graph_mail.spool.incoming import translated
from proxmox_graph_mail.spool.owner import owner_of
from proxmox_graph_mail.spool.store import Spool, is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT_PAUSE = 60  # seconds between two counts of one user's files
LIMIT = 1000  # bytes of such a line
HOUR, DAY = 3600, 24  # seconds; hours
BLOCK = 4096  # bytes: what a file takes of most file systems is a multiple of it
DAILY_RECIPIENTS = 500  # of one user in 24 hours, where no settings say otherwise


class Usage:
    """One user's; within `with` this process alone changes it, and waits for its turn with `wait`. Raises SpoolError."""

    def __init__(self, spool: Spool, uid: int, *, wait: bool = True) -> None:
        self._spool = spool
        self._uid = uid
        self._lock = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        self.messages = self.bytes = self._counted = 0
        self._recipients: dict[int, int] = {}  # by hours since 1970
        self.refused = 0
        """When a message was last refused for the number of its recipients; 0: never."""

    def __enter__(self) -> "Usage":
        directory = f"{self._spool.root}/users"
        try:
            if not os.path.isdir(directory):
                os.makedirs(directory, 0o770, exist_ok=True)
            self._fd = open_plain(f"{directory}/{self._uid}", os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(self._fd, self._lock)
                words = os.read(self._fd, LIMIT).split()
            except OSError:
                os.close(self._fd)
                raise
        except OSError as error:
            raise translated(error, directory) from error
        if len(words) >= 3 and all(word.isdigit() for word in words[:3]):
            self.messages, self.bytes, self._counted = map(int, words[:3])
            self._read_recipients(words[3:])
        return self

    def _read_recipients(self, words: "list[bytes]") -> None:
        for name, _, number in (word.partition(b":") for word in words):
            if name == b"refused" and number.isdigit():
                self.refused = int(number)
            elif name.isdigit() and number.isdigit():
                self._recipients[int(name)] = int(number)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @property
    def known(self) -> bool:
        """Was it ever counted?"""
        return self._counted > 0

    @property
    def fresh(self) -> bool:
        """Was it counted a moment ago?"""
        return 0 <= time.time() - self._counted < COUNT_PAUSE

    def add(self, messages: int, size: int) -> None:
        """So many messages and bytes more, or fewer; never below none."""
        self.messages, self.bytes = max(self.messages + messages, 0), max(self.bytes + size, 0)
        self._write()

    def recipients(self, now: float) -> int:
        """Recipients of what was accepted in the last 24 hours, by the hour; hours that have not begun do not count."""
        last = int(now) // HOUR
        self._recipients = {hour: count for hour, count in self._recipients.items() if last - DAY < hour <= last}
        return sum(self._recipients.values())

    def add_recipients(self, count: int, now: float) -> None:
        """A message to so many was accepted."""
        hour = int(now) // HOUR
        self._recipients[hour] = self._recipients.get(hour, 0) + count
        self._write()

    def credit(self, count: int, now: float) -> None:
        """So many fewer have a mail, for a digest came in its place; the latest are credited first."""
        self.recipients(now)
        for hour in sorted(self._recipients, reverse=True):
            less = min(count, self._recipients[hour])
            self._recipients[hour] -= less
            count -= less
        self._write()

    def refuse(self, now: float) -> None:
        """A message was refused for the number of its recipients."""
        self.refused = int(now)
        self._write()

    def count(self) -> None:
        """Look at every file."""
        self.messages = self.bytes = 0
        for directory in (self._spool.queue, self._spool.failed, self._spool.kept):
            for size in _of_user(directory, self._uid):
                self.messages += directory == self._spool.queue
                self.bytes += size
        self._counted = int(time.time())
        self._write()

    def _write(self) -> None:
        hours = "".join([f" {hour}:{count}" for hour, count in self._recipients.items()])
        refused = f" refused:{self.refused}" if self.refused else ""
        line = f"{self.messages} {self.bytes} {self._counted}{hours}{refused}\n".encode()
        try:
            os.pwrite(self._fd, line, 0)
            os.ftruncate(self._fd, len(line))
        except OSError:
            pass  # a full or read-only disk: the next count tells


def blocks(size: int) -> int:
    """What a message of so many bytes takes of the disk, with a journal beside it."""
    return -(-size // BLOCK) * BLOCK + BLOCK


def daily_recipients(spool: Spool) -> int:
    """How many recipients in 24 hours a user may send to; 0: any number."""
    try:
        text = read_beginning(f"{spool.root}/daily-recipients", LIMIT)
    except (SpoolError, OSError):
        return DAILY_RECIPIENTS
    return int(text) if text.strip().isdigit() else DAILY_RECIPIENTS


def grant_daily_recipients(spool: Spool, count: int) -> None:
    """Write down what the settings grant a user."""
    path = f"{spool.root}/daily-recipients"
    try:
        if daily_recipients(spool) != count:
            replace(path, f"{count}\n".encode())
    except OSError as error:
        log.line(f"cannot write {path}: {error.strerror}; users keep the limit they had", log.WARNING)


def refused_lately(spool: Spool, now: float) -> "list[int]":
    """The users of whom a message was refused in the last 24 hours for the number of its recipients. Raises OSError."""
    directory, found = f"{spool.root}/users", []
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        if name.isdigit():
            with Usage(spool, int(name), wait=False) as usage:
                if now - DAY * HOUR < usage.refused <= now:
                    found.append(int(name))
    return sorted(found)


def has_left(spool: Spool, uid: int, messages: int, size: int) -> None:
    """So many of a user's messages left the queue, and one of `size` bytes the spool (0: none did). Root's are not counted."""
    if uid > 0:
        try:
            with Usage(spool, uid, wait=False) as usage:  # the queue runner waits for nobody
                if usage.known:
                    usage.add(-messages, -blocks(size) if size else 0)
        except SpoolError:
            pass  # the count stays too high


def gathered(spool: Spool, uid: int, recipients: int, now: float) -> None:
    """Messages of a user to so many recipients went as part of another one. Root's are not counted."""
    if uid > 0:
        try:
            with Usage(spool, uid, wait=False) as usage:
                usage.credit(recipients, now)
        except SpoolError:
            pass  # the count stays too high


def _of_user(directory: str, uid: int) -> "Iterator[int]":
    """The bytes of each of a user's messages there, whole or on its way in."""
    try:
        with os.scandir(directory) as files:
            for file in files:
                if is_id(file.name.removeprefix(".")):
                    try:
                        if owner_of(uid_of(read_beginning(file.path, UID_WITHIN))) == uid:
                            yield blocks(file.stat(follow_symlinks=False).st_size)
                    except (SpoolError, OSError):
                        pass  # sent meanwhile, or none of ours
    except FileNotFoundError:
        pass  # there is no such directory yet
    except OSError as error:
        raise translated(error, directory) from error
