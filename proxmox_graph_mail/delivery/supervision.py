"""What the queue runner tells systemd, by sd_notify(3): that it listens, that it lives, one line for `systemctl status`.

A datagram to the socket that `$NOTIFY_SOCKET` names. Without systemd there is none, and nothing happens; a message that
cannot be sent is dropped, for systemd asks again (the watchdog) or shows the line before.
"""

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Mapping, MutableMapping

from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.log import printable

STATUS_LIMIT = 300  # characters of the line; `systemctl status` shows it on one


class Supervision:
    """The sd_notify socket. `interval` is how often in seconds it wants to hear that we live, None if it does not."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        # Taken out: a program that we start must not speak for us.
        path = environment.pop("NOTIFY_SOCKET", "")
        watchdog = environment.pop("WATCHDOG_USEC", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._status = ""
        self._last_sign = 0.0
        # sd_watchdog_enabled(3): at half the time after which it would end us.
        self.interval = int(watchdog) / 2e6 if path and watchdog.isdigit() and int(watchdog) else None

    def ready(self) -> None:
        """The queue is being looked after from now on."""
        self._tell("READY=1")

    def alive(self) -> None:
        """The main thread goes on; cheap enough to be said for every message."""
        if self.interval is not None and time.monotonic() - self._last_sign >= self.interval / 2:
            self._last_sign = time.monotonic()
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """What is in flight is finished, then it ends."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        text = printable(text)[:STATUS_LIMIT]
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.settimeout(1.0)
            manager.sendto(state.encode("utf-8", "backslashreplace"), self._address)


class Report:
    """The line for `systemctl status`: the queue by state, what is wrong with all of it, the last outcome."""

    def __init__(self) -> None:
        self._last = ""

    def settled(self, state: str, now: float) -> None:
        """A message got this state now. Which, and why, is not said: every user of the host may read this line."""
        self._last = f" Last: {state} at {time.strftime('%H:%M:%S', time.localtime(now))}"

    def line(self, states: Mapping[str, int], failed: int, trouble: str, refusal: Outcome | None = None) -> str:
        """`states` are the messages in the queue by state, `failed` the number in failed/, `trouble` what holds everything (or
        empty), `refusal` why nothing of the queue is tried now."""
        shown = Counter(states)
        if refusal is not None:
            shown["held" if refusal.status is Status.HELD else "deferred"] += shown.pop("queued", 0)
        counts = ", ".join(f"{shown[state]} {state}" for state in ("queued", "deferred", "held"))
        return f"{counts}, {failed} failed.{f' {trouble}.' if trouble else ''}{self._last}"
