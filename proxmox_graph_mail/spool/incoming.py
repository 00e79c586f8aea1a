"""A message on its way into the queue: the instant from which it is safe.

Written as `.ID`, fsynced, renamed to `ID`, the directory fsynced; only then does `commit` return. A kill before the rename
leaves a `.ID`, which the next runner removes; one after it leaves the whole mail.

Raises SpoolAccessError where this user may not write and SpoolError where the spool is absent, full or broken.
"""

import errno
import fcntl
import time

from proxmox_graph_mail import light_os as os
from proxmox_graph_mail.errors import SpoolAccessError, SpoolError

_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
MAKE = "systemd-tmpfiles --create proxmox-graph-mail.conf"  # what gives a host the package's directories again


class Incoming:
    """A message on its way into the queue: write, then commit or discard. `size` are its bytes, `line` those of its envelope."""

    def __init__(self, queue: str, line: bytes) -> None:
        self.id = f"{time.time_ns() // 1000:013X}{os.urandom(3).hex().upper()[:5]}"
        self.size = 0
        self.line = len(line)
        self._queue = queue
        try:
            # By descriptor from here on: the spool is the service user's, and a link in the queue's place must not lead
            # root elsewhere.
            self._directory = os.open(queue, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise translated(error, queue) from error
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(f".{self.id}", flags, 0o640, dir_fd=self._directory)
        except OSError as error:
            os.close(self._directory)
            raise translated(error, queue) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(self._fd, 0o640)  # whatever the caller's umask is
            self._write(line)
        except OSError as error:
            self.discard()
            raise translated(error, queue) from error

    def write(self, chunk: bytes) -> None:
        """Append to the message."""
        try:
            self._write(chunk)
        except OSError as error:
            self.discard()
            raise translated(error, self._queue) from error
        self.size += len(chunk)

    def commit(self) -> str:
        """Make the message safe and return its queue ID. After this returns, the mail survives a loss of power."""
        try:
            os.utime(self._fd, (0, 0))
            self._give_to_service_user()  # only now: without CAP_FOWNER we could not set its time any more
            os.fsync(self._fd)
            os.rename(f".{self.id}", self.id, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            os.fsync(self._directory)
        except OSError as error:
            self.discard()
            raise translated(error, self._queue) from error
        self._close()  # an error of the disk's here comes too late to matter: what was fsynced is safe
        return self.id

    def discard(self) -> None:
        """Leave nothing behind. What a kill leaves instead, the queue runner removes."""
        try:
            os.unlink(f".{self.id}", dir_fd=self._directory)
        except OSError:
            pass  # never created, or renamed already: then the runner may send what we report as refused
        self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._directory):
            try:
                os.close(fd)
            except OSError:
                pass  # closed already

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._fd, view) :]

    def _give_to_service_user(self) -> None:
        # Only a file's owner may set its time, and the time is the schedule. Root in a sandbox without CAP_CHOWN
        # leaves the file its own; `Spool.defer` then takes it over by copying.
        if os.geteuid() == 0:
            owner = os.fstat(self._directory)
            if owner.st_uid != 0:
                try:
                    os.fchown(self._fd, owner.st_uid, owner.st_gid)
                except PermissionError:
                    pass


def sync_directory(path: str) -> None:
    """Make renames and unlinks in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def translated(error: OSError, path: str) -> SpoolError:
    """The operating system's error as a sentence that names the place."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):  # a sandbox may hide it: the submit socket may do it
        return SpoolAccessError(f"there is no spool at {path}; {MAKE} makes it")
    if error.errno in _ACCESS:
        return SpoolAccessError(f"cannot write the spool {path}: {error.strerror}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return SpoolError(f"the disk is full: cannot write the spool {path} ({error.strerror}); free some space, then send again")
    return SpoolError(f"cannot use the spool {path}: {error.strerror}")
