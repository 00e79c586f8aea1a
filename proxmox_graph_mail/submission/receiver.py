"""proxmox-graph-mail-receive: accepts connections on the submit socket, or SMTP's on localhost, and forks for each.

Started by systemd on the first connection, with the listening sockets (`Accept=no`, sd_listen_fds(3)), as the service user, in a
sandbox, one receiver for the submit sockets and one for SMTP's; it leaves after QUIET seconds without a connection, and systemd
listens in its place. A unit started per mail cost eight times Postfix's CPU; a fork costs a millisecond, and what one connection
can break (memory, a crash, a hang) stays in its process, whose time and (by the unit) memory are limited.

One user has at most PER_USER of them, and all others than root TOTAL, so that root's always find one; a connection over these
limits is closed at once, and its client tries again (submit.py). Over TCP a user is whose socket the other end is; a guest of
this host, a container or virtual machine, counts by its address, and must be in a network that the admin named.

On SIGTERM it accepts nothing more, lets those at work finish for FAREWELL seconds, and leaves: connections that were not accepted
stay in the socket's backlog for the next receiver. Without systemd's sockets it serves the one connection that is its standard
input, as any inetd gives it.
"""

import os
import select
import signal
import socket
import sys
import time
from collections import Counter

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import EX_TEMPFAIL
from proxmox_graph_mail.host import GUESTS
from proxmox_graph_mail.spool import watch  # noqa: F401 - loaded before an upgrade may take the files away
from proxmox_graph_mail.spool.owner import owner_of
from proxmox_graph_mail.submission import quota, reception, smtp  # noqa: F401 - likewise
from proxmox_graph_mail.submission.peer import NOBODY_KNOWN, guest, is_admitted, uid_by_tcp, uid_by_unix_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

PER_USER, TOTAL = 16, 240
"""Connections that one user, and all users but root, may have at a time."""
QUIET = 60.0  # seconds without a connection after which the receiver leaves
FAREWELL = 10.0  # seconds that those at work have to finish when it is told to stop
LIFE = 150  # seconds a connection may take: 60 for the message, and 60 for the outcome if the client waits for that
SMTP_LIFE = 3600  # likewise; five minutes of silence end it before
SMTP_BUSY = b"421 4.7.0 Error: too many connections; try again later\r\n"
GUESTS_TOTAL = 64  # connections of all guests together: one that takes many addresses leaves the host's own programs theirs
SMTP_GONE = b"421 4.7.0 Error: the connection is not anybody's any more\r\n"
SMTP_STRANGER = b"554 5.7.1 Error: this host takes no mail from your address\r\n"
FIRST_FD = 3  # sd_listen_fds(3)


def main() -> "NoReturn":
    """The program: the receiver of systemd's sockets, or of one connection."""
    # The unit has LogLevelMax=notice: systemd's own lines would bury ours.
    log.setup("receive", severity=log.NOTICE)
    if os.environ.pop("LISTEN_PID", "") == str(os.getpid()):
        count = int(os.environ.pop("LISTEN_FDS", "0"))
        Receiver([socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + count)]).run()
        sys.exit(0)
    try:
        connection = socket.socket(fileno=os.dup(0))
    except OSError as error:
        log.line(f"refused: {error.strerror} on the connection", log.WARNING)
        sys.exit(EX_TEMPFAIL)
    sys.exit(reception.serve(connection))


class Receiver:
    """The process that accepts, and what it knows of those that serve: process → user, or guest."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        self._listeners = listeners
        self._serving: dict[int, int] = {}
        self._stopping = False
        self._spool = paths.spool()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for listener in listeners:
            listener.setblocking(False)

    def run(self, quiet: float = QUIET) -> None:
        """Accept until it was quiet for so many seconds, or SIGTERM."""
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the descriptor wakes
        signal.signal(signal.SIGTERM, self._stop)
        while not self._stopping:
            ready = self._wait([self._woken, *(listener.fileno() for listener in self._listeners)], quiet)
            self._reap()
            if not ready and not self._serving:
                return
            for listener in self._listeners:
                if listener.fileno() in ready:
                    self._accept(listener)
            if not os.path.isdir(self._spool):  # its sandbox was made without: the next receiver's may be made with it
                self._stopping = True
        end = time.monotonic() + FAREWELL
        while self._serving and (left := end - time.monotonic()) > 0:
            self._wait([self._woken], left)
            self._reap()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _wait(self, descriptors: list[int], seconds: float) -> list[int]:
        ready = select.select(descriptors, [], [], seconds)[0]
        if self._woken in ready:
            os.read(self._woken, 4096)
        return ready

    def _reap(self) -> None:
        while self._serving:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._serving.pop(pid, None)

    def _accept(self, listener: socket.socket) -> None:
        """Accept what waits there: some at a time, for the other listener is root's."""
        for _ in range(PER_USER):
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # nobody waits any more, or the one who did has left
            try:
                self._take(connection)
            except OSError as error:  # no more processes to be had, or gone already: the client tries again
                log.line(f"cannot serve a connection: {error.strerror}", log.WARNING)
            finally:
                connection.close()

    def _take(self, connection: socket.socket) -> None:
        """Serve a connection, if whoever made it has room for one more."""
        if connection.family == socket.AF_UNIX:
            user = owner_of(uid_by_unix_socket(connection))
            if self._has_room(user):
                self._fork(connection, user, LIFE, lambda: reception.serve(connection))
            return
        uid = uid_by_tcp(connection)
        if uid == NOBODY_KNOWN and (uid := guest(connection)) != NOBODY_KNOWN:
            address = connection.getpeername()[0]
            if not is_admitted(address, paths.guest_networks()):
                log.line(f"refused: {address} is not on this host, and in no network of PROXMOX_GRAPH_MAIL_NETWORKS", log.WARNING)
                connection.send(SMTP_STRANGER, socket.MSG_DONTWAIT)
                return
        if uid == NOBODY_KNOWN:  # a local program that closed it at once: whose limits would its mail count against?
            connection.send(SMTP_GONE, socket.MSG_DONTWAIT)
            return
        party = owner_of(uid)
        guests = uid >= GUESTS
        if self._has_room(party) and not (guests and self._guests() >= GUESTS_TOTAL):
            self._fork(connection, party, SMTP_LIFE, lambda: smtp.serve(connection, uid))
        else:
            connection.send(SMTP_BUSY, socket.MSG_DONTWAIT)

    def _guests(self) -> int:
        return sum(party >= GUESTS for party in self._serving.values())

    def _has_room(self, party: int) -> bool:
        parties = Counter(self._serving.values())
        return parties[party] < PER_USER and (party == 0 or len(self._serving) - parties[0] < TOTAL)

    def _fork(self, connection: socket.socket, party: int, life: int, serve: "Callable[[], int]") -> None:
        pid = os.fork()
        if pid:
            self._serving[pid] = party
            return
        status = EX_TEMPFAIL
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.alarm(life)
            for listener in self._listeners:
                listener.close()
            connection.setblocking(True)
            status = serve()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends here, in the process that met it
            log.line(f"refused: unexpected {type(error).__name__} ({error}); please report this", log.ERR)
        finally:
            os._exit(status)
