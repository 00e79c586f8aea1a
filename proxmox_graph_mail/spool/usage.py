"""What each user's mail takes of the spool: counted as it comes and goes, so that nobody looks into every file to know it.

    SPOOL/users/UID   one line: messages in queue/; bytes in queue/, failed/ and kept/ together; when that was last counted

The count errs on the high side: what comes is added before it is safe, what goes is taken off after it has gone, and what an
admin removes is not. So whoever would be refused for it is counted anew first, by looking at every file; and so is who has no
such line yet.
"""

import fcntl
import os
import time

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.files import open_plain, read_beginning
from proxmox_graph_mail.spool.envelope import UID_WITHIN, uid_of
from proxmox_graph_mail.spool.incoming import translated
from proxmox_graph_mail.spool.owner import owner_of
from proxmox_graph_mail.spool.store import Spool, is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT_PAUSE = 60  # seconds between two counts of one user's files
LIMIT = 100  # bytes of such a line


class Usage:
    """One user's; within `with` this process alone changes it, and waits for its turn with `wait`. Raises SpoolError."""

    def __init__(self, spool: Spool, uid: int, *, wait: bool = True) -> None:
        self._spool = spool
        self._uid = uid
        self._lock = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        self.messages = self.bytes = self._counted = 0

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
        if len(words) == 3 and all(word.isdigit() for word in words):
            self.messages, self.bytes, self._counted = map(int, words)
        return self

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
        line = f"{self.messages} {self.bytes} {self._counted}\n".encode()
        try:
            os.pwrite(self._fd, line, 0)
            os.ftruncate(self._fd, len(line))
        except OSError:
            pass  # a full or read-only disk: the next count tells


def has_left(spool: Spool, uid: int, messages: int, size: int) -> None:
    """So much of a user's mail has left the queue, or the spool. Root's is not counted."""
    if uid > 0:
        try:
            with Usage(spool, uid, wait=False) as usage:  # the queue runner waits for nobody
                if usage.known:
                    usage.add(-messages, -size)
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
                            yield file.stat(follow_symlinks=False).st_size
                    except (SpoolError, OSError):
                        pass  # sent meanwhile, or none of ours
    except FileNotFoundError:
        pass  # there is no such directory yet
    except OSError as error:
        raise translated(error, directory) from error
