"""Whose message is next: the users in turn, and last of all what a runner died of. Pure functions and one small record."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.spool import Entry, Spool, is_id
from proxmox_graph_mail.submission.envelope import UID_WITHIN, uid_of

KNOWN = 50_000
"""Messages whose owner is remembered."""

DEATHS = 5
"""Deaths of the runner with a message in hand after which the message is held."""


def in_turns(entries: Sequence[Entry], owner: Callable[[str], int]) -> list[Entry]:
    """The oldest message of each user, then the second oldest of each, and so on.

    Ten thousand mails of one user's script so delay another's alarm by one, not by ten thousand: at the 30 messages a minute
    that Exchange Online takes from a mailbox, by hours.
    """
    turns: Counter[int] = Counter()
    ranked = []
    for entry in entries:
        uid = owner(entry.id)
        ranked.append((turns[uid], entry))
        turns[uid] += 1
    ranked.sort(key=lambda pair: pair[0])  # stable: within a turn the oldest first
    return [entry for _, entry in ranked]


class Owners:
    """Whose each message is, remembered, so that a scan need not read them again."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._uids: dict[str, int] = {}

    def uid(self, queue_id: str) -> int:
        """The submitter's uid; -1 where the message's file is damaged or gone."""
        if len(self._uids) > KNOWN:
            self._uids.clear()
        if queue_id not in self._uids:
            try:
                with open(self._spool.open(queue_id), "rb") as file:
                    self._uids[queue_id] = uid_of(file.read(UID_WITHIN))
            except (SpoolError, OSError):
                self._uids[queue_id] = -1
        return self._uids[queue_id]


class Suspects:
    """Messages that were in flight when a runner died (killed, out of memory, by the watchdog), and how often each was.

    Any of them may have killed it. They are tried last and one by one, so that the others leave the queue first, and
    one that was there DEATHS times is held.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._deaths: dict[str, int] = {}
        for line in spool.read_in_flight().decode("ascii", "replace").splitlines():
            queue_id, _, deaths = line.partition(" ")
            if is_id(queue_id) and deaths.isdecimal():
                self._deaths[queue_id] = int(deaths) + 1

    def deaths(self, queue_id: str) -> int:
        """How many runners died with this message in hand."""
        return self._deaths.get(queue_id, 0)

    def deadly(self) -> list[str]:
        """The messages that were in hand at DEATHS deaths or more."""
        return [queue_id for queue_id, deaths in self._deaths.items() if deaths >= DEATHS]

    def clear(self, queue_id: str) -> None:
        """A runner outlived it."""
        self._deaths.pop(queue_id, None)

    def record(self, in_flight: Collection[str]) -> None:
        """Write down what is in hand now, and who is suspected still."""
        lines = [f"{queue_id} {self.deaths(queue_id)}" for queue_id in in_flight]
        # One that waits is written as it was: the runner's end is not its doing.
        lines += [f"{queue_id} {deaths - 1}" for queue_id, deaths in self._deaths.items() if queue_id not in in_flight]
        self._spool.write_in_flight("".join(f"{line}\n" for line in lines).encode())
