"""What the queue runner tells systemd, by sd_notify(3): that it listens, that it lives, one line for `systemctl status`.

A datagram to the socket that `$NOTIFY_SOCKET` names. Without systemd there is none, and nothing happens; a message that
cannot be sent is dropped, for systemd asks again (the watchdog) or shows the line before.
"""

import contextlib
import socket
from collections.abc import MutableMapping

from proxmox_graph_mail.log import printable

STATUS_LIMIT = 300
"""Characters of the line; `systemctl status` shows it on one."""


class Supervision:
    """The service manager's ear. `interval` is how often in seconds it wants to hear that we live, None if it does not."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        # Taken out: a program that we start must not speak for us.
        path = environment.pop("NOTIFY_SOCKET", "")
        watchdog = environment.pop("WATCHDOG_USEC", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._status = ""
        # sd_watchdog_enabled(3): at half the time after which it would end us.
        self.interval = int(watchdog) / 2e6 if path and watchdog.isdigit() and int(watchdog) else None

    def ready(self) -> None:
        """The queue is being looked after from now on."""
        self._tell("READY=1")

    def alive(self) -> None:
        """The main loop goes round."""
        if self.interval is not None:
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
