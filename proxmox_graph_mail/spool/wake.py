"""Telling the queue runner that there is mail: its queue ID into a FIFO, or a detached pass where nobody listens.

The line is a hint, so that the runner need not look through its directory; losing it loses nothing, for the runner scans that
whenever it starts, when it changes, and before it leaves. Nothing here waits: opening the FIFO does not block, and a full one is
as good as a line more.
"""

import errno

from proxmox_graph_mail import light_os as os
from proxmox_graph_mail import paths
from proxmox_graph_mail.errors import MailError
from proxmox_graph_mail.spool.lock import lock
from proxmox_graph_mail.spool.store import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def wake(run: str, queue_id: str = "") -> bool:
    """Write a message's queue ID into the FIFO, or an empty line, which says only that something changed; return whether anybody
    (the runner, or systemd in its place) listens on it."""
    try:
        fd = os.open(f"{run}/wake", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # ENXIO: no reader; ENOENT: no FIFO
    try:
        if (os.fstat(fd).st_mode & 0o170000) != 0o010000:
            return False
        os.write(fd, f"{queue_id}\n".encode())
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return True


def wake_or_pass(spool: Spool, run: str, queue_id: str = "") -> None:
    """Wake the runner; where none listens, start one detached pass if this user may.

    The pass inherits the runner's lock, taken here: of 200 `sendmail` processes at once one starts a pass. The others
    find the lock held by somebody who has yet to scan the queue, who watches it, or who scans it again after letting go.
    `paths.may_start_pass` may forbid it.
    """
    if wake(run, queue_id) or not paths.may_start_pass() or _looked_after(run):
        return
    try:
        held = lock(spool.root)
        if held is None:
            return
        if os.fork() == 0:
            _become_pass(spool, held)
        os.close(held)
    except (MailError, OSError):
        pass  # not this user's to start, or no process to be had: the next pass takes the mail


def _looked_after(run: str) -> bool:
    """Does systemd look after the queue (proxmox-graph-mail.path), so that an admin who stopped that means it?"""
    return run == paths.PACKAGE_RUN and os.path.isdir(run) and os.path.isdir("/run/systemd/system")


def become_owner(path: str) -> None:
    """If root: go on as the owner of a directory. Raises OSError if it is not there."""
    owner = os.stat(path)
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def companion(*arguments: str) -> list[str]:
    """The command line of `proxmox-graph-mail ARGUMENTS`, wherever this package lies."""
    import sys

    return [sys.executable or "/usr/bin/python3", "-I", f"{paths.PACKAGE}/admin/__main__.py", *arguments]


def _become_pass(spool: Spool, held: int) -> "NoReturn":
    # The caller may wait for the end of file on a pipe we inherited, or for its process group: leave both.
    try:
        os.setsid()
        os.chdir("/")
        os.umask(0o077)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.dup2(held, 3)
        os.set_inheritable(3, True)  # dup2 does not, where the lock is 3 already
        os.closerange(4, 4096)
        become_owner(spool.root)
        command = companion("run", "--once", "--lock-fd", "3")
        os.execv(command[0], command)
    finally:
        os._exit(127)
