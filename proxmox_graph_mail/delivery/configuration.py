"""The settings as the runner sees them: a relay to send by, or a sentence that says why there is none; and their changes."""

import time
from collections.abc import Callable, Mapping

from proxmox_graph_mail import log
from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.message.recipients import AddressBook

Signature = Mapping[str, object]
"""File → anything that differs when the file does."""


SETTINGS = "Settings"  # the code of the outcome that settings make which cannot be read
REREAD = 60.0
"""Seconds after which settings that could not be read are read again, changed or not: the fault may have been elsewhere."""


class Configuration:
    """Reads the settings again when their files change.

    `load` gives the relay, the queue's lifetime in seconds and what closes the relay's connections; `signature` the state
    of the files that matter, which may be more once `load` has read them.
    """

    def __init__(self, load: Callable[[], tuple[Relay, float, Callable[[], None]]], signature: Callable[[], Signature]) -> None:
        self._load = load
        self._signature = signature
        self._seen: Signature | None = None
        self._close: Callable[[], None] = lambda: None
        self.relay: Relay | None = None
        self.book: AddressBook | None = None  # the last that was read, whatever is wrong now
        self.lifetime = 0.0
        self.error = ""
        self._read_at = 0.0

    def refusal(self) -> Outcome | None:
        """What holds every message while there are no settings to send by; None where there are."""
        return Outcome(Status.HELD, self.error, SETTINGS, shared=True) if self.relay is None else None

    def changed(self) -> bool:
        """Do the files differ from those that were read, or is it time to try those again that could not be?"""
        again = self.relay is None and self._seen is not None and time.monotonic() - self._read_at >= REREAD
        return again or self._signature() != self._seen

    def invalidate(self) -> None:
        """Let the next refresh read the settings, changed or not."""
        self._seen = None

    def refresh(self) -> bool:
        """Read the settings if they changed; True if what is to be done with mail may be another now. To be called with nothing
        in flight."""
        if not self.changed():
            return False
        before, said = self._signature(), self.error
        again = before == self._seen
        self._read_at = time.monotonic()
        self.close()
        try:
            self.relay, self.lifetime, self._close = self._load()
            self.book = self.relay.book
            self.error = ""
        except (SettingsError, OSError) as error:
            self.relay, self.error = None, f"settings: {error}"
        except Exception as error:  # noqa: BLE001 - whatever is wrong with them holds the mail and must not stop the runner
            self.relay, self.error = None, f"settings: they cannot be read ({type(error).__name__}); please report this"
        if self.error and not (again and self.error == said):
            log.line(f"{self.error}; mail is held until they are corrected", log.ERR)
        # What changed while they were read is seen as a change next time; the files may be others now.
        self._seen = {file: before.get(file, state) for file, state in self._signature().items()}
        return not again or self.relay is not None

    def close(self) -> None:
        """Close the relay's connections."""
        self._close()
        self._close = lambda: None
