"""Messages that Graph has, and that the disk (full, read-only, broken) would not let the runner remove: not to be sent again.
Removing them is tried again and again, while it lives."""

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.spool import Spool


class Unremoved:
    """What is sent and to be removed. A message is here from the moment Graph took it until its file is gone."""

    def __init__(self, spool: Spool, pause: float) -> None:
        self._spool = spool
        self._pause = pause  # seconds before it is tried again
        self._kept: dict[str, bool] = {}  # is the original to be kept, for it was sent smaller?
        self._not_before: dict[str, float] = {}

    def __contains__(self, queue_id: str) -> bool:
        return queue_id in self._kept

    def add(self, queue_id: str, *, keep: bool) -> None:
        """It is sent; with `keep` the original moves to kept/."""
        self._kept[queue_id] = keep

    def not_before(self, queue_id: str) -> float:
        """When to try again to remove it; 0: at once, or there is nothing to remove."""
        return self._not_before.get(queue_id, 0.0)

    def remove(self, queue_id: str, now: float) -> str:
        """Try to remove it, unless it was tried a moment ago; what is in the way, if it is in the way anew."""
        if self._not_before.get(queue_id, 0.0) > now:
            return ""
        try:
            if self._kept[queue_id]:
                self._spool.keep(queue_id, now)
            else:
                self._spool.remove(queue_id)
        except SpoolError as error:
            self._not_before[queue_id] = now + self._pause
            return f"{queue_id}: sent, but cannot be removed from the queue: {error}"
        del self._kept[queue_id]
        self._not_before.pop(queue_id, None)
        return ""
