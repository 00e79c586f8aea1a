"""How many messages stand where: counted as they move, so that nobody walks over a hundred thousand records."""

from collections import Counter

from proxmox_graph_mail.delivery.queued import Place, Queued
from proxmox_graph_mail.spool.lane import Lane


class Tally:
    """Counts of one index. `states`: how many messages are queued, deferred and held."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self._places: Counter[Place] = Counter()
        self._ready: Counter[Lane] = Counter()

    def at(self, *places: Place) -> int:
        """Messages in these places."""
        return sum([self._places[place] for place in places])

    def ready(self, lane: Lane) -> int:
        """Messages of a lane that could be tried now."""
        return self._ready[lane]

    def comes(self, message: Queued) -> None:
        """It is new."""
        self._places[message.place] += 1
        self.states[message.state] += 1

    def goes(self, message: Queued) -> None:
        """It is forgotten."""
        self._places[message.place] -= 1
        self._ready[message.lane] -= message.place is Place.READY
        self.states[message.state] -= message.place is not Place.SENT

    def moves(self, message: Queued, place: Place) -> None:
        """It is about to stand there."""
        self._places[message.place] -= 1
        self._places[place] += 1
        self._ready[message.lane] += (place is Place.READY) - (message.place is Place.READY)
        self.states[message.state] -= place is Place.SENT

    def changes(self, before: str, after: str) -> None:
        """The state of one is another."""
        self.states[before] -= 1
        self.states[after] += 1
