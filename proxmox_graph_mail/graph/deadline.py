"""A deadline for a whole exchange, however the other side dribbles: httpx's timeouts are those of one read or write each.

TLS sockets of a context made here look at their thread's deadline before each read and write, and wait for it in short slices,
so that a program that is told to stop does not wait for the other side either. (`SSLContext.sslsocket_class` is the standard
library's way to give a context's sockets another class.)
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SLICE = 1.0  # seconds after which a waiting read looks whether the program is to stop
FAREWELL = 10.0  # seconds that an exchange has once the program is told to stop


class _Now(threading.local):
    """What this thread's exchange may take: until when (monotonic), and the program's word to stop."""

    end: float = float("inf")
    stop: threading.Event | None = None


_now = _Now()


@contextmanager
def deadline(seconds: float, stop: threading.Event | None) -> Iterator[None]:
    """Within, this thread's reads and writes end with TimeoutError after so many seconds."""
    _now.end, _now.stop = time.monotonic() + seconds, stop
    try:
        yield
    finally:
        _now.end, _now.stop = float("inf"), None


class DeadlineSocket(ssl.SSLSocket):
    """A TLS socket that keeps its thread's deadline."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As ever; TimeoutError once the deadline is over too."""
        return bytes(self._in_slices(lambda: super(DeadlineSocket, self).recv(buflen, flags)))

    def send(self, data: Any, flags: int = 0) -> int:
        """As ever; TimeoutError once the deadline is over too."""
        return int(self._in_slices(lambda: super(DeadlineSocket, self).send(data, flags)))

    def _in_slices(self, operation: Callable[[], Any]) -> Any:
        own = self.gettimeout()
        idle_end = time.monotonic() + own if own is not None else float("inf")
        try:
            while True:
                now = time.monotonic()
                if _now.stop is not None and _now.stop.is_set():
                    _now.end, _now.stop = min(_now.end, now + FAREWELL), None
                left = min(idle_end, _now.end) - now
                if left <= 0:
                    raise TimeoutError("the exchange took too long")
                self.settimeout(min(SLICE, left))
                try:
                    return operation()
                except TimeoutError:
                    continue  # a slice is over
        finally:
            self.settimeout(own)


def context() -> ssl.SSLContext:
    """The system's trust, and sockets that keep the deadline."""
    made = ssl.create_default_context()
    made.sslsocket_class = DeadlineSocket
    return made
