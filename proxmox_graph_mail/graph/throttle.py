"""What all senders share: how many requests may be on the way at once, and one pause, for when Graph throttles one of them."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

AT_ONCE = 4
"""Requests at once (Graph, "Throttling limits", Outlook: 4 concurrent requests per app and mailbox)."""


class Throttle:
    """A time before which no request is made; and the runner's word to stop, which ends every wait."""

    def __init__(self, stop: threading.Event | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stop = stop or threading.Event()
        self._clock = clock
        self._until = 0.0
        self._mutex = threading.Lock()
        self._places = threading.Semaphore(AT_ONCE)

    def place(self) -> AbstractContextManager[object]:
        """One request's place among those that may be on the way; waits until there is one."""
        return self._places

    def pause(self, seconds: float) -> None:
        """Let nobody make a request for so long; never shortens a pause."""
        with self._mutex:
            self._until = max(self._until, self._clock() + seconds)

    def remaining(self) -> float:
        """Seconds until a request may be made; 0 if it may."""
        with self._mutex:
            return max(0.0, self._until - self._clock())

    def stopping(self) -> bool:
        """Has the runner been told to stop?"""
        return self._stop.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait, and at least until the pause is over; return early when the runner is to stop."""
        self._stop.wait(max(seconds, self.remaining()))
