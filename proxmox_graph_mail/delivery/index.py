"""The index: one record a message of the queue, and the only thing that a pass walks through.

Filled from the spool: a message's first line and its journal are read once, when it is first seen, and again only when somebody
else changed its time (root's hand-over, an admin). From then on it is kept true by what the runner does; what the disk does not
let it write, the record remembers while the runner lives.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.files import read_plain
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.envelope import UID_WITHIN, uid_of
from proxmox_graph_mail.spool.in_flight import InFlight
from proxmox_graph_mail.spool.journal import NEW, Event, History
from proxmox_graph_mail.spool.store import FARTHEST, Entry, Spool

DEATHS = 5  # deaths of the runner with a message in hand after which the message is held
_SAME = 0.001
"""Seconds by which a file's time may differ from what was written, by rounding."""


@dataclass(slots=True)
class Queued:
    """What the runner knows of one message.

    `due` is the file's time. `deaths`: how many runners died with it in hand. `probes`: how often it was the probe of a suspended
    queue. `refused_after`: how many others had been sent when it last met a refusal that concerns all; -1: never. `put_off`: it
    waits for a reason that concerns all. `not_before`: what the disk would not let us write into its time. `not_roots`: looked
    at, and no part of it is local root's. `sent`: Graph has it, and its file is only to be removed (`keep`: to kept/).
    """

    id: str
    uid: int
    size: int
    due: float
    history: History = NEW
    deaths: int = 0
    probes: int = 0
    refused_after: int = -1
    not_before: float = 0.0
    put_off: bool = False
    not_roots: bool = False
    sent: bool = False
    keep: bool = False

    @property
    def state(self) -> str:
        """queued, deferred or held."""
        return journal.state_in_queue(self.history)

    def is_due(self, now: float) -> bool:
        """May it be tried at `now`? A time farther ahead than any wait was written under a wrong clock."""
        return not self.sent and (self.due <= now or self.due > now + FARTHEST) and self.not_before <= now

    def waits_until(self) -> float:
        """When it becomes due."""
        return max(self.due, self.not_before)

    def happened(self, event: Event) -> None:
        """Keep the record true: `event` was appended to the journal, or would have been, had the disk let us."""
        self.history = self.history.after(event)
        self.put_off = event.shared


class Index:
    """The messages of one spool, oldest first."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._in_flight = InFlight(spool.root)
        self._deaths = {queue_id: deaths + 1 for queue_id, deaths in self._in_flight.read().items()}
        self._messages: dict[str, Queued] = {}
        self.any_put_off = False
        """Does a message wait for a reason that concerns all?"""

    def __iter__(self) -> Iterator[Queued]:
        return iter(self._messages.values())

    def __len__(self) -> int:
        return len(self._messages)

    def scan(self) -> None:
        """Look at the queue's directory, and let the index agree with it. Raises SpoolError."""
        entries = self._spool.scan()
        known = self._messages
        self._messages = {entry.id: self._seen(entry, known.get(entry.id)) for entry in entries}

    def forget(self, message: Queued) -> None:
        """Its file is gone."""
        self._messages.pop(message.id, None)

    def states(self) -> Counter[str]:
        """How many messages are queued, deferred and held."""
        return Counter(message.state for message in self if not message.sent)

    def write_in_flight(self, messages: Collection[Queued]) -> None:
        """Write down what is in hand now, and what is still suspected."""
        deaths = {message.id: message.deaths for message in messages}
        # One that waits is written as it was: the runner's end is not its doing.
        waiting = {message.id: message.deaths - 1 for message in self if message.deaths and message.id not in deaths}
        self._in_flight.write(deaths | waiting)

    def close(self) -> None:
        """Close the file of what is in hand."""
        self._in_flight.close()

    def _seen(self, entry: Entry, message: Queued | None) -> Queued:
        if message is None:
            past = journal.read(self._spool.queue, entry.id)
            message = Queued(entry.id, self._uid(entry.id), entry.size, entry.due, past, put_off=past.shared)
            message.deaths = self._deaths.pop(entry.id, 0)
            self.any_put_off = self.any_put_off or message.put_off
        elif abs(entry.due - message.due) > _SAME:
            message.due = entry.due
            known = message.history.sent_to  # the disk may not have taken it
            past = journal.read(self._spool.queue, entry.id)
            message.history = past._replace(sent_to=tuple(dict.fromkeys((*past.sent_to, *known))))
        return message

    def _uid(self, queue_id: str) -> int:
        try:
            return uid_of(read_plain(f"{self._spool.queue}/{queue_id}", UID_WITHIN))
        except (SpoolError, OSError):
            return -1  # damaged, or gone meanwhile: seen when it is tried
