"""How much of the spool one user's mail may take: so that nobody fills the disk under everybody's mail.

The rule: a user's mail, waiting, failed or kept, takes at most as many bytes as it leaves free on the disk, and MESSAGES
messages. So there is room for the next user whatever one does, and for root, who is not asked. Reception holds it, for
what comes over the submit socket; envelopes are read only where the whole queue is near such a size.

Raises SpoolError (temporary: the mail leaves the queue, or an admin makes room).
"""

import os

from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.incoming import translated
from proxmox_graph_mail.spool import Spool, is_id
from proxmox_graph_mail.submission.envelope import LINE_LIMIT, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES = 5000
"""Of one user at a time; at Exchange Online's 30 messages a minute they take some three hours."""
STEP = 1 << 20
"""Bytes of a growing message after which the disk is looked at again."""


class Quota:
    """One message on its way in, of the user `uid`."""

    def __init__(self, spool: Spool, uid: int) -> None:
        self._spool = spool
        self._uid = uid
        self._exempt = uid in (0, os.geteuid())
        self._written = 0
        self._looked = 0

    def grow(self, size: int) -> None:
        """The message takes `size` bytes more."""
        self._written += size
        if self._written - self._looked >= STEP:
            self._looked = self._written
            if not self._exempt and self._written > (free := self._free()):
                raise SpoolError(f"the disk has no room for it: {_mb(free)} left; free some space, then send again")

    def settle(self) -> None:
        """The message is whole, and in the spool as `.ID`."""
        if self._exempt:
            return
        free = self._free()
        directories = [d for d in (self._spool.queue, self._spool.failed, self._spool.kept) if os.path.isdir(d)]
        sizes = dict(file for directory in directories for file in _messages(directory))
        if sum(sizes.values()) <= free and len(sizes) <= MESSAGES:
            return
        own = [size for path, size in sizes.items() if _uid_of(path) == self._uid]
        if len(own) > MESSAGES:
            raise SpoolError(f"{MESSAGES} messages of uid {self._uid} wait already; send again when some are gone")
        if sum(own) > free:
            raise SpoolError(
                f"mail of uid {self._uid} would take {_mb(sum(own))} of the disk and leave only {_mb(free)}; "
                "free some space, or send again when some has left the queue"
            )

    def _free(self) -> int:
        try:
            status = os.statvfs(self._spool.queue)
        except OSError as error:
            raise translated(error, self._spool.queue) from error
        return status.f_bavail * status.f_frsize


def _messages(directory: str) -> "Iterator[tuple[str, int]]":
    """Path and bytes of each message there, whole or on its way in."""
    try:
        with os.scandir(directory) as files:
            for file in files:
                if is_id(file.name.removeprefix(".")):
                    try:
                        yield file.path, file.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        pass  # sent meanwhile
    except OSError as error:
        raise translated(error, directory) from error


def _uid_of(path: str) -> int:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return decode(file.readline(LINE_LIMIT)).uid
    except (OSError, DataError):
        return -1  # gone meanwhile, or damaged: nobody's


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
