"""The settings as the runner sees them: a route to send by, or a sentence that says why there is none; and their changes."""

from collections.abc import Callable

from proxmox_graph_mail import log
from proxmox_graph_mail.delivery.attempt import Route
from proxmox_graph_mail.errors import SettingsError


class Tenancy:
    """Reads the settings again when their files change. `load` gives the route, the queue's lifetime in seconds and what
    closes the route's connections; `signature` anything that differs when a file does."""

    def __init__(self, load: Callable[[], tuple[Route, float, Callable[[], None]]], signature: Callable[[], object]) -> None:
        self._load = load
        self._signature = signature
        self._seen: object = None
        self._close: Callable[[], None] = lambda: None
        self.route: Route | None = None
        self.lifetime = 0.0
        self.error = ""

    def changed(self) -> bool:
        """Do the files differ from those that were read?"""
        return self._signature() != self._seen

    def refresh(self) -> bool:
        """Read the settings if they changed; True if they were read. To be called with nothing in flight."""
        signature = self._signature()
        if signature == self._seen:
            return False
        self._seen = signature
        self.close()
        try:
            self.route, self.lifetime, self._close = self._load()
            self.error = ""
        except (SettingsError, OSError) as error:
            self.route, self.error = None, f"settings: {error}"
            log.line(f"{self.error}; mail is held until they are mended", log.ERR)
        return True

    def close(self) -> None:
        """Close the route's connections."""
        self._close()
        self._close = lambda: None
