"""What the queue runner knows of one message: a record as small as can be, for there may be a hundred thousand."""

from dataclasses import dataclass
from enum import Enum

from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import NEW, History
from proxmox_graph_mail.spool.lane import Lane
from proxmox_graph_mail.spool.store import FARTHEST


class Place(Enum):
    """Where a message stands."""

    NEW = "its first line and its journal are to be read"
    CHANGED = "its journal is to be read again"
    WAITING = "its time has not come"
    READY = "its turn will come"
    GATHERED = "it waits for others like it, or for the digest that it is in"
    SUSPECT = "runners ended with it in hand: it goes alone, after all others"
    IN_HAND = "it is being sent or settled"
    SENT = "Graph has it, and its file is only to be removed"


@dataclass(slots=True)
class Trouble:
    """What few messages have. `deaths`: how many runners died with it in hand. `refused_after`: how many others had been sent
    when it last met a refusal that concerns all; -1: never. `not_before`: what the disk would not let us write into its time.
    `put_off`: it waits for a reason that concerns all. `keep`: once sent, its file goes to kept/; of a digest, those of its
    members that are `kept` do. `alone`: it goes by itself, for a digest with it could not be made or was removed."""

    deaths: int = 0
    refused_after: int = -1
    not_before: float = 0.0
    put_off: bool = False
    keep: bool = False
    kept: tuple[str, ...] = ()
    alone: bool = False


_NONE = Trouble()


class Queued:
    """One message. `due` is the file's time; `looked` and `seen` number the reading of the settings and the scan by which it was
    last looked at. What is alike has one number `alike`; 0: like none. `members` are the messages that a digest stands for."""

    __slots__ = ("alike", "due", "history", "id", "lane", "large", "looked", "members", "place", "seen", "trouble", "uid")

    def __init__(self, queue_id: str, *, uid: int = -1, large: bool = False, due: float = 0.0) -> None:
        self.id = queue_id
        self.uid = uid
        self.lane = Lane.USER if uid > 0 else Lane.ROOT
        self.alike = 0
        self.members: tuple[str, ...] = ()
        self.large = large
        self.due = due
        self.place = Place.NEW
        self.history: History = NEW
        self.trouble: Trouble = _NONE
        self.looked = 0
        self.seen = 0

    @property
    def state(self) -> str:
        """queued, deferred or held."""
        return journal.state_in_queue(self.history)

    def in_trouble(self) -> Trouble:
        """Its trouble, to be changed."""
        if self.trouble is _NONE:
            self.trouble = Trouble()
        return self.trouble

    def waits_until(self, now: float) -> float:
        """When it may be tried. A time farther ahead than any wait was written under a wrong clock: at once."""
        return max(self.due if self.due <= now + FARTHEST else 0.0, self.trouble.not_before)
