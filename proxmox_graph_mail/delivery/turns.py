"""Whose message is next: one lane before the next, in it the users in turn, each user's oldest first.

Ten thousand mails of one user's script so delay another's alarm by one, not by ten thousand: at the 30 messages a minute that
Exchange Online takes from a mailbox, by hours. Choosing costs the same whoever else waits: users stand in a ring, and each user's
messages in two heaps, for a large one may have to let small ones pass (delivery/runner.py, LARGE).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from heapq import heappop, heappush

from proxmox_graph_mail.spool.lane import USERS, Lane

Line = list[str]
"""A heap of queue IDs, which begin with the time of submission."""


class Turns:
    """Queue IDs by user. An ID that no longer counts is passed over when its turn comes: `waits` says whether it does."""

    def __init__(self, waits: Callable[[str], bool]) -> None:
        self._waits = waits
        self._ring: deque[int] = deque()
        self._lines: dict[int, tuple[Line, Line]] = {}

    def add(self, queue_id: str, uid: int, *, large: bool) -> None:
        """A message of this user is due."""
        if uid not in self._lines:
            self._lines[uid] = [], []
            self._ring.append(uid)
        heappush(self._lines[uid][large], queue_id)

    def next(
        self, *, large: bool, apart_from: Collection[str] = (), only: int | None = None, over: Callable[[int], bool] | None = None
    ) -> str | None:  # fmt: skip
        """Take the next message (of the user `only`, if given, and of none who is `over` a limit); a large one only with `large`,
        and none of `apart_from`, which keep their places."""
        for _ in range(len(self._ring)):
            uid = self._ring.popleft()
            if (only is not None and uid != only) or (over is not None and over(uid)):
                self._ring.append(uid)
                continue
            lines = self._lines[uid]
            aside = [self._clear(line, apart_from) for line in lines]
            heads = [line for line in (lines if large else lines[:1]) if line]
            chosen = heappop(min(heads)) if heads else None
            for line, queue_ids in zip(lines, aside, strict=True):
                for queue_id in queue_ids:
                    heappush(line, queue_id)
            if any(lines):
                self._ring.append(uid)
            else:
                del self._lines[uid]
            if chosen is not None:
                return chosen
        return None

    def _clear(self, line: Line, apart_from: Collection[str]) -> list[str]:
        """Take from a heap's head what no longer waits, and those of `apart_from`; return the latter."""
        aside = []
        while line and (line[0] in apart_from or not self._waits(line[0])):
            queue_id = heappop(line)
            if queue_id in apart_from:
                aside.append(queue_id)
        return aside


class Lanes:
    """The turns of each lane."""

    def __init__(self, waits: Callable[[str], bool]) -> None:
        self._turns = {lane: Turns(waits) for lane in Lane}

    def add(self, queue_id: str, uid: int, lane: Lane, *, large: bool) -> None:
        """A message of this user is due."""
        self._turns[lane].add(queue_id, uid, large=large)

    def next(
        self, lanes: Iterable[Lane], *, large: bool, apart_from: Collection[str], only: int | None, over: Callable[[int], bool]
    ) -> str | None:  # fmt: skip
        """Take the next message of the first of these lanes that has one; of those of `apart_from` only if there is no other."""
        for apart in (apart_from, ()) if apart_from else ((),):
            for lane in lanes:
                check = over if lane in USERS else None
                queue_id = self._turns[lane].next(large=large, apart_from=apart, only=only, over=check)
                if queue_id is not None:
                    return queue_id
        return None
