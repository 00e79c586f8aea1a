"""What the queue runner clears up in the spool: leftovers of killed writers, journals without a message, originals kept long
enough.

Nothing here touches a message that waits, nor root's that failed. Raises OSError.
"""

import fcntl
import os

from proxmox_graph_mail.files import open_plain, read_beginning
from proxmox_graph_mail.spool.envelope import UID_WITHIN, uid_of
from proxmox_graph_mail.spool.store import KEPT_AGE, Spool, is_id

FAILED_AGE = 30 * 86400  # seconds for which a user's failed mail is kept
LEFTOVER_AGE = 600  # seconds after which a `.ID` that nobody holds is what a killed writer left, and is removed


def foreign(spool: Spool) -> list[str]:
    """Paths in queue/ that are neither messages nor their journals nor being written."""
    ours = (".urge", ".urge.new", ".urge-at-once", ".urge-at-once.new")
    names = [n for n in os.listdir(spool.queue) if n not in ours and not is_id(n.removeprefix(".").removesuffix(".log"))]
    links = [name for name in os.listdir(spool.queue) if is_id(name) and not _is_regular(f"{spool.queue}/{name}")]
    return [f"{spool.queue}/{name}" for name in sorted(names + links)]


def sweep(spool: Spool, now: float) -> list[str]:
    """Remove the `.ID` that killed writers left, journals whose message is gone, and originals that were kept long enough;
    return the leftovers that were removed."""
    swept = []
    for name in os.listdir(spool.kept) if os.path.isdir(spool.kept) else ():
        path = f"{spool.kept}/{name}"
        status = os.lstat(path)
        if is_id(name.removesuffix(".log")) and (status.st_mtime or status.st_ctime) < now - KEPT_AGE:
            os.unlink(path)
    for name in os.listdir(spool.queue):
        path = f"{spool.queue}/{name}"
        try:
            leftover = name.startswith(".") and is_id(name[1:]) and os.lstat(path).st_mtime < now - LEFTOVER_AGE
            if leftover and not _is_locked(path):
                os.unlink(path)
                swept.append(name)
        except FileNotFoundError:
            continue
    for here, there in ((spool.queue, spool.failed), (spool.failed, spool.queue)):
        for name in os.listdir(here):
            if name.endswith(".log") and is_id(name[:-4]) and not os.path.lexists(f"{here}/{name[:-4]}"):
                _reunite(name, here, there, now)
    return swept


def expire(spool: Spool, now: float) -> list[str]:
    """Remove what failed of users other than root and was kept for FAILED_AGE; the queue IDs. Root's stays until an admin
    decides."""
    gone = []
    for queue_id in os.listdir(spool.failed):
        path = f"{spool.failed}/{queue_id}"
        try:
            if is_id(queue_id) and os.lstat(path).st_ctime < now - FAILED_AGE and uid_of(read_beginning(path, UID_WITHIN)) > 0:
                spool.remove(queue_id, failed=True)
                gone.append(queue_id)
        except FileNotFoundError:
            continue  # retried or removed meanwhile
    return gone


def _reunite(name: str, here: str, there: str, now: float) -> None:
    """Let a journal follow its message; remove one that has none."""
    try:
        if os.lstat(f"{here}/{name}").st_ctime > now - LEFTOVER_AGE:
            return  # its message may be following it just now
        if os.path.lexists(f"{there}/{name[:-4]}"):
            os.rename(f"{here}/{name}", f"{there}/{name}")
        else:
            os.unlink(f"{here}/{name}")
    except FileNotFoundError:
        pass  # removed meanwhile, with its message


def _is_regular(path: str) -> bool:
    try:
        return (os.lstat(path).st_mode & 0o170000) == 0o100000
    except FileNotFoundError:
        return True


def _is_locked(path: str) -> bool:
    fd = open_plain(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
