"""Which messages runners ended with in hand, and how often: SPOOL/in-flight, read at the start and written before each send."""

from collections.abc import Container, Iterable

from proxmox_graph_mail.delivery.queued import Queued
from proxmox_graph_mail.spool.in_flight import InFlight


class Suspects:
    """Queue IDs, each with the number of runners that ended with it in hand."""

    def __init__(self, root: str) -> None:
        self._in_flight = InFlight(root)
        self.deaths = {queue_id: deaths + 1 for queue_id, deaths in self._in_flight.read().items()}

    def keep(self, queue_ids: Container[str]) -> None:
        """Only those that are still there."""
        self.deaths = {queue_id: deaths for queue_id, deaths in self.deaths.items() if queue_id in queue_ids}

    def outlived(self, message: Queued) -> None:
        """The runner did not die of it."""
        if message.trouble.deaths:
            message.trouble.deaths = 0
            self.deaths.pop(message.id, None)

    def write(self, messages: Iterable[Queued]) -> None:
        """Write down what is in hand now (only what of it is suspected already, if any is), and what is still suspected."""
        deaths = {message.id: message.trouble.deaths for message in messages}
        deaths = {queue_id: count for queue_id, count in deaths.items() if count} or deaths
        # One that waits is written as it was: the runner's end is not its doing.
        waiting = {queue_id: count - 1 for queue_id, count in self.deaths.items() if queue_id not in deaths}
        self._in_flight.write(deaths | waiting)

    def close(self) -> None:
        """Close the file."""
        self._in_flight.close()
