"""The queue runner's lock: one process at a time sends. `lock` is held by flock(2) and never unlinked.

Raises SpoolError.
"""

import fcntl

from proxmox_graph_mail import light_os as os
from proxmox_graph_mail.spool.incoming import translated


def lock(root: str, *, wait: bool = False) -> int | None:
    """Become the one queue runner: a descriptor that holds the lock until it is closed, or None if another has it."""
    path = f"{root}/lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
        if os.geteuid() == 0 and (owner := os.stat(root)).st_uid != 0 and os.fstat(fd).st_uid == 0:
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


def owns_lock(root: str, fd: int) -> bool:
    """Does this inherited descriptor hold the lock?"""
    try:
        ours, named = os.fstat(fd), os.stat(f"{root}/lock")
        if (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino):
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
