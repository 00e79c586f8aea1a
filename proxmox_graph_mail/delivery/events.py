"""What wakes the queue runner: the FIFO, a sender that finished, a signal, a change of the settings' files, the clock."""

import fcntl
import os
import select
import signal
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from proxmox_graph_mail import log
from proxmox_graph_mail.spool.store import ID_LENGTH, is_id

_DIRECTORY_CHANGES = fcntl.DN_MODIFY | fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_DELETE | fcntl.DN_ATTRIB | fcntl.DN_MULTISHOT


class Events:
    """One place to sleep. For the main thread; `notify` may be called from any."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._fifo: int | None = None
        self._urged = False
        self._changed = False
        self._told: set[str] = set()
        self._rest = b""
        self._watched: dict[str, int] = {}
        self._restore: list[Callable[[], object]] = []

    def catch_signals(self) -> None:
        """SIGTERM and SIGINT stop; SIGHUP urges; a change in a watched directory only wakes, for the settings to be looked at."""
        wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._restore.append(lambda: signal.set_wakeup_fd(wakeup))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGIO):
            stops = number in (signal.SIGTERM, signal.SIGINT)
            previous = signal.signal(number, self._stop_by_signal if stops else self._urge_by_signal)
            self._restore.append(lambda number=number, previous=previous: signal.signal(number, previous))  # type: ignore[misc]

    def _stop_by_signal(self, *_: object) -> None:
        self._stop.set()

    def _urge_by_signal(self, number: int, _: object) -> None:
        self._urged = self._urged or number == signal.SIGHUP
        self._changed = self._changed or number == signal.SIGIO

    def urged(self) -> bool:
        """Did SIGHUP ask since the last call for everything to be tried now?"""
        urged, self._urged = self._urged, False
        return urged

    def news(self) -> tuple[bool, set[str]]:
        """Since the last call: did a watched directory change; and the queue IDs that came through the FIFO."""
        changed, told = self._changed, self._told
        self._changed, self._told = False, set()
        return changed, told

    def listen(self, run: Path) -> None:
        """Open the FIFO: the one systemd passes (sd_listen_fds(3)), or our own in the runtime directory.

        Without a runtime directory to write there is none, and `sendmail` starts passes instead.
        """
        if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
            self._fifo = 3
            os.set_blocking(3, False)
            os.set_inheritable(3, False)
            return
        path = run / "wake"
        try:
            if not path.exists():
                run.mkdir(parents=True, exist_ok=True)
                os.mkfifo(path, 0o600)
            # Reading and writing: with a writer of our own there is never an end of file to spin on.
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.close(fd)
                raise FileExistsError(17, "not a FIFO")
            self._fifo = fd
        except OSError as error:
            log.line(f"cannot open the FIFO {path}: {error.strerror}; new mail is noticed at the next pass", log.WARNING)

    def watch(self, paths: Iterable[Path]) -> None:
        """Wake when one of these files may have changed (dnotify on their directories)."""
        for directory in {str(path.parent) for path in paths} - self._watched.keys():
            try:
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue  # it is not there: the files are looked at on every pass
            try:
                fcntl.fcntl(fd, fcntl.F_NOTIFY, _DIRECTORY_CHANGES)
                self._watched[directory] = fd
            except OSError:
                os.close(fd)  # a file system without notification (FUSE): likewise

    def watch_queue(self, directory: str) -> None:
        """Wake when a message is renamed into the queue: then the FIFO is a hint, and nothing waits that it did not reach."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_RENAME | fcntl.DN_MULTISHOT)
            self._watched[directory] = fd
        except OSError:
            os.close(fd)

    def notify(self) -> None:
        """Wake the sleeper."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:
            pass  # it is awake already

    def wait(self, seconds: float | None) -> None:
        """Sleep until something happens, or `seconds` are over."""
        sources = [self._read] if self._fifo is None else [self._read, self._fifo]
        for fd in select.select(sources, [], [], seconds)[0]:
            try:
                while text := os.read(fd, 4096):
                    if fd == self._fifo:
                        self._hear(text)
            except BlockingIOError:
                pass  # empty

    def _hear(self, text: bytes) -> None:
        """Queue IDs, one a line; a line that is none says that something changed."""
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            queue_id = line.decode("ascii", "replace")
            if is_id(queue_id):
                self._told.add(queue_id)
            else:
                self._changed = True
        if len(self._rest) > ID_LENGTH:
            self._rest, self._changed = b"", True

    def stop_listening(self) -> None:
        """Close the FIFO: from here on `sendmail` finds no reader. Idempotent."""
        if self._fifo is not None and self._fifo != 3:
            os.close(self._fifo)
        self._fifo = None

    def close(self) -> None:
        """Give back signals and descriptors."""
        self.stop_listening()
        for restore in reversed(self._restore):
            restore()
        for fd in (*self._watched.values(), self._read, self._write):
            os.close(fd)
