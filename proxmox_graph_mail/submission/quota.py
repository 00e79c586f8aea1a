"""How much of the spool one user's mail may take: so that nobody fills the disk under everybody's mail.

The rule: a user's mail, waiting, failed or kept, takes at most as many bytes as it leaves free on the disk, and MESSAGES
messages wait. So there is room for the next user whatever one does, and for root, who is not asked. Files are read only
where the whole queue is near such a size, and then no more of each than holds its uid.

Raises SpoolError (temporary: the mail leaves the queue, or an admin makes room).
"""

import os

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.files import read_plain
from proxmox_graph_mail.spool.envelope import UID_WITHIN, uid_of
from proxmox_graph_mail.spool.incoming import translated
from proxmox_graph_mail.spool.store import Spool, is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MESSAGES = 5000  # of one user at a time; at Exchange Online's 30 messages a minute they take some three hours
AT_ONCE = 16  # messages that one user can have on their way in (the submit socket's MaxConnectionsPerSource)
STEP = 1 << 20  # bytes of a growing message after which the disk is looked at again


def measured(spool: Spool, uid: int, chunks: "Iterable[bytes]") -> "Iterator[bytes]":
    """The chunks of a message on its way in, as long as the user's quota allows them."""
    quota = Quota(spool, uid)
    for chunk in chunks:
        quota.grow(len(chunk))
        yield chunk
    quota.settle()


class Quota:
    """One message on its way in, of the user `uid`."""

    def __init__(self, spool: Spool, uid: int) -> None:
        self._spool = spool
        self._uid = uid
        self._written = 0
        self._looked = 0

    def grow(self, size: int) -> None:
        """The message takes `size` bytes more."""
        self._written += size
        if self._written - self._looked >= STEP:
            self._looked = self._written
            if self._written * AT_ONCE > (free := self._free()):  # as many may be growing beside it
                raise SpoolError(f"not enough disk space: {_mb(free)} left on the disk; free some space, then send again")

    def settle(self) -> None:
        """The message is whole, and in the spool as `.ID`."""
        free = self._free()
        directories = [d for d in (self._spool.queue, self._spool.failed, self._spool.kept) if os.path.isdir(d)]
        sizes = dict(file for directory in directories for file in _messages(directory))
        if sum(sizes.values()) <= free and len(sizes) <= MESSAGES:
            return
        own = {path: size for path, size in sizes.items() if _uid_of(path) == self._uid}
        if sum(path.startswith(f"{self._spool.queue}/") for path in own) > MESSAGES:
            raise SpoolError(f"uid {self._uid} has {MESSAGES} messages waiting already; send again when some have left the queue")
        if (taken := sum(own.values())) > free:
            raise SpoolError(
                f"the mail of uid {self._uid} would take {_mb(taken)} of the disk and leave only {_mb(free)}; "
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
        return uid_of(read_plain(path, UID_WITHIN))
    except OSError:
        return -1  # gone meanwhile: nobody's


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
