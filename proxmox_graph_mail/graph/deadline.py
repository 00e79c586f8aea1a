"""A deadline for a whole exchange, however the other side dribbles: httpx's timeouts are those of one read or write each.

TLS sockets of a context made here look at their thread's deadline before each read and write, and wait for it in short slices,
so that a program that is told to stop does not wait for the other side either. (`SSLContext.sslsocket_class` is the standard
library's way to give a context's sockets another class.)

A proxy is spoken to in plain text until it has connected: such a socket is shut down by another thread when it takes too long.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SLICE = 1.0  # seconds after which a waiting read looks whether the program is to stop
PROXY_PATIENCE = 15.0  # seconds that a proxy may take to answer CONNECT
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


class ProxyWatch:
    """Sees a proxy's connection through until TLS begins: what takes longer than PROXY_PATIENCE is shut down; so it is when the
    program is told to stop, for nothing was sent yet. `step` is what httpcore tells of its steps (its extension `trace`)."""

    def __init__(self, stop: threading.Event | None) -> None:
        self._stop = stop
        self._over = threading.Event()
        self.connecting = False
        """Is the proxy still to answer CONNECT?"""

    def step(self, name: str, told: Any) -> None:
        """A step of the exchange."""
        if name.endswith("connect_tcp.complete"):
            self.connecting = True
            threading.Thread(target=self._watch, args=(told["return_value"].get_extra_info("socket"),), daemon=True).start()
        elif name.endswith("start_tls.started"):
            self.connecting = False
            self._over.set()

    def close(self) -> None:
        """The exchange is over."""
        self._over.set()

    def _watch(self, plain: socket.socket) -> None:
        end = time.monotonic() + PROXY_PATIENCE
        while not self._over.wait(SLICE):
            if time.monotonic() >= end or (self._stop is not None and self._stop.is_set()):
                try:
                    plain.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # closed already
                return
