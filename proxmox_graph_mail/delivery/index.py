"""The index: one record a message of the queue, and the order in which they are due.

Filled from the spool by a scan (at the start, and when the directory changed in a way that nobody told of) and by the queue IDs
that come through the FIFO. A message's first line and its journal are read once, some messages at a time, so that the first mail
does not wait for a hundred thousand others; and again only when somebody else changed its time (root's hand-over, an admin).
From then on a record is kept true by what the runner does; what the disk does not let it write, the record remembers while the
runner lives. It leaves with its file.

    new ──► waiting (a heap of times) ──► ready (the users' turns) ──► in hand ──► waiting, or gone
                                               suspect: alone, last

What one message costs does not depend on how many others there are, but for a scan.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush

from proxmox_graph_mail.delivery.alike import look_into
from proxmox_graph_mail.delivery.queued import Place, Queued
from proxmox_graph_mail.delivery.suspects import Suspects
from proxmox_graph_mail.delivery.tally import Tally
from proxmox_graph_mail.delivery.turns import Lanes
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import NEW, Event, History
from proxmox_graph_mail.spool.lane import Lane
from proxmox_graph_mail.spool.store import Entry, Spool

DEATHS = 5  # deaths of the runner with a message in hand after which the message is held
LARGE = 10 << 20
"""Bytes of a message from which only one is in hand at a time: taken apart, each takes some five times its size of memory."""
READ_AT_ONCE = 100  # messages whose first line and journal are read between two looks at what else is to be done: some 5 ms
SCAN_PAUSE, SCAN_SHARE = 1.0, 10
"""Between two scans lie so many seconds, and so many times what a scan took."""
SCAN_AGAIN = 60.0  # seconds after which it is scanned although nobody told of a change
CLOCK_STEP = 60.0  # seconds by which a clock may be corrected without notice
_SAME = 0.001
"""Seconds by which a file's time may differ from what was written, by rounding."""


class Index:
    """The messages of one spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._service = os.geteuid()
        self.suspected = Suspects(spool.root)
        self._messages: dict[str, Queued] = {}
        self._unread: deque[str] = deque()
        self._waiting: list[tuple[float, str]] = []
        self._lanes = Lanes(self._is_ready)
        self.tally = Tally()
        self.newly_ready: deque[str] = deque()
        """What became ready, for whoever wants to look at it before its turn comes; the reader empties it."""
        self.claimed: dict[str, str] = {}
        """Members of digests that are on their way, and the digest of each."""
        self.removed_digests: list[Queued] = []
        """Digests that an admin removed; the reader empties it."""
        self.put_off: set[str] = set()
        """What waits for a reason that concerns all."""
        self._released = False
        self._tried: set[str] = set()  # what is new to the index, and has a journal
        self._scans = self._claims_seen = 0
        self._next_scan = 0.0

    def __iter__(self) -> Iterator[Queued]:
        return iter(list(self._messages.values()))

    def __len__(self) -> int:
        return len(self._messages)

    def scan_due(self, *, changed: bool) -> float:
        """Seconds until the directory may be scanned, if it `changed`, or else is to be all the same."""
        return max(self._next_scan + (0.0 if changed else SCAN_AGAIN) - time.monotonic(), 0.0)

    def scan(self) -> None:
        """Look at the queue's directory, and let the index agree with it. Raises SpoolError."""
        begun = time.monotonic()
        self._scans += 1
        fresh: list[str] = []
        tried: set[str] = set()
        try:
            fresh.extend(entry.id for entry in self._spool.entries(tried) if self._seen(entry))
        finally:
            took = time.monotonic() - begun
            self._next_scan = begun + took + max(SCAN_PAUSE, SCAN_SHARE * took)
            self._unread.extend(sorted(fresh))
            self._tried |= tried.intersection(fresh)
        for message in self:
            if message.seen != self._scans and message.place is not Place.IN_HAND:
                self.forget(message)
        self.suspected.keep(self._messages)

    def look(self, queue_ids: Iterable[str], now: float) -> None:
        """Look at these messages: somebody says that they are new, or that something happened to them."""
        for queue_id in queue_ids:
            entry = self._spool.entry(queue_id)
            if entry is None:
                continue  # gone already: the next scan tells
            self._seen(entry)
            message = self._messages[queue_id]
            if message.place in (Place.NEW, Place.CHANGED):
                self._read(message, now, scanned=False)

    def advance(self, now: float) -> None:
        """Let what is due by now be ready, and read some of what is new."""
        for _ in range(min(READ_AT_ONCE, len(self._unread))):
            message = self._messages.get(self._unread.popleft())
            if message is not None and message.place in (Place.NEW, Place.CHANGED):
                self._read(message, now, scanned=True)
        while self._waiting and self._waiting[0][0] <= now:
            when, queue_id = heappop(self._waiting)
            message = self._messages.get(queue_id)
            if message is not None and message.place is Place.WAITING and message.waits_until(now) <= when:
                self._ready(message)

    def reading(self) -> bool:
        """Are there messages that are not read yet?"""
        return self.tally.at(Place.NEW, Place.CHANGED) > 0

    def ready(self) -> int:
        """How many messages could be tried now."""
        return self.tally.at(Place.READY, Place.SUSPECT)

    def next_time(self, now: float) -> float | None:
        """Seconds until the next message is due; None if none waits for a time."""
        return max(self._waiting[0][0] - now, 0.0) if self._waiting else None

    def has_ready(self, lane: Lane) -> bool:
        """Could a message of this lane be tried now?"""
        return self.tally.ready(lane) > 0

    def waiting(self) -> list[Lane]:
        """The lanes with messages that could be tried now."""
        return [lane for lane in Lane if self.has_ready(lane)]

    def take(
        self, lanes: Iterable[Lane] = tuple(Lane), *, large: bool = True, apart_from: Iterable[str] = (), only: int | None = None,
        over: Callable[[int], bool] = lambda _uid: False,
    ) -> Queued | None:  # fmt: skip
        """The message whose turn it is in these lanes (of the user `only`, if given, and of none who is `over` a limit), in hand
        now; a large one only with `large`, and one of `apart_from` only if there is no other."""
        return self._taken(self._lanes.next(lanes, large=large, apart_from=set(apart_from), only=only, over=over))

    def take_this(self, message: Queued) -> None:
        """Take a message that is ready, out of turn."""
        self._move(message, Place.IN_HAND)

    def if_ready(self, queue_id: str) -> Queued | None:
        """A message, if it still is ready."""
        return self._messages[queue_id] if self._is_ready(queue_id) else None

    def has_suspect(self, uid: int) -> bool:
        """Is a message of this user's to be tried that runners died with?"""
        return self._suspect(uid) is not None

    def take_suspect(self, uid: int | None = None) -> Queued | None:
        """The oldest message (of this user, if given) that runners died with."""
        return self._taken(self._suspect(uid))

    def _suspect(self, uid: int | None) -> str | None:
        suspects = [queue_id for queue_id in self.suspected.deaths if self._stands(queue_id, Place.SUSPECT)]
        return min((queue_id for queue_id in suspects if uid in (None, self._messages[queue_id].uid)), default=None)

    def place(self, message: Queued, now: float) -> None:
        """Let a message stand where its time says."""
        when = message.waits_until(now)
        if when <= now:
            self._ready(message)
            return
        self._move(message, Place.WAITING)
        heappush(self._waiting, (when, message.id))
        if len(self._waiting) > 2 * len(self._messages) + 1000:  # mostly times that no longer count
            self._waiting = [(one.waits_until(now), one.id) for one in self._messages.values() if one.place is Place.WAITING]
            heapify(self._waiting)

    def gather(self, message: Queued) -> None:
        """It waits for others like it, or for the digest that it is in."""
        self._move(message, Place.GATHERED)

    def let_go(self, queue_id: str) -> None:
        """A member of a digest goes by itself after all."""
        self.claimed.pop(queue_id, None)
        if (message := self._messages.get(queue_id)) is not None:
            message.in_trouble().alone = True
            if message.place is Place.GATHERED:
                self._ready(message)

    def left_alone(self) -> list[str]:
        """Members whose digest is not there any more; asked once for each scan."""
        seen, self._claims_seen, here = self._claims_seen == self._scans, self._scans, self._messages
        return [] if seen else [one for one, digest in self.claimed.items() if one in here and digest not in here]

    def gathered(self, queue_id: str) -> Queued | None:
        """A message, if it is there and gathered."""
        message = self._messages.get(queue_id)
        return message if message is not None and message.place is Place.GATHERED else None

    def sent(self, message: Queued) -> None:
        """Graph has it."""
        self._move(message, Place.SENT)

    def forget(self, message: Queued) -> None:
        """Its file is gone."""
        if self._messages.pop(message.id, None) is not None:
            self.tally.goes(message)
            self.put_off.discard(message.id)
            self.suspected.deaths.pop(message.id, None)
            if message.members and message.place is not Place.SENT:
                self.removed_digests.append(message)

    def happened(self, message: Queued, event: Event) -> None:
        """Keep the record true: `event` was appended to the journal, or would have been, had the disk let us."""
        self._remember(message, message.history.after(event))

    def put_back(self, message: Queued, *, put_off: bool) -> None:
        """Note whether a message waits for a reason that concerns all."""
        if put_off:
            message.in_trouble().put_off = True
            self.put_off.add(message.id)
        elif message.trouble.put_off:
            message.trouble.put_off = False
            self.put_off.discard(message.id)

    def release(self) -> None:
        """What waits for a reason that concerns all is ready now; so is what an earlier runner put off, once it is read."""
        self._released = True
        for queue_id in list(self.put_off):
            message = self._messages[queue_id]
            self.put_back(message, put_off=False)
            if message.place is Place.WAITING:
                self._ready(message)

    def _seen(self, entry: Entry) -> bool:
        """A file is there; is it new, or did somebody else change its time?"""
        message = self._messages.get(entry.id)
        if message is None:
            message = self._messages[entry.id] = Queued(entry.id, large=entry.size > LARGE)
            self.tally.comes(message)
            if deaths := self.suspected.deaths.get(entry.id, 0):
                message.in_trouble().deaths = deaths
            fresh = True
        else:
            fresh = abs(entry.due - message.due) > _SAME and message.place in (Place.WAITING, Place.READY, Place.SUSPECT)
            if fresh:
                self._move(message, Place.CHANGED)
        message.seen, message.due = self._scans, entry.due
        return fresh

    def _read(self, message: Queued, now: float, *, scanned: bool) -> None:
        if message.uid < 0:
            look_into(self._spool, message, self._service)
        # A scan sees which have a journal, and nobody gives one to a message that is not in the index.
        untried = scanned and message.place is Place.NEW and message.id not in self._tried
        past = NEW if untried else journal.read(self._spool.queue, message.id)
        self._tried.discard(message.id)
        known = message.history.sent_to  # the disk may not have taken it
        if known:
            past = past._replace(sent_to=tuple(dict.fromkeys((*past.sent_to, *known))))
        self._remember(message, past)
        if message.id in self.claimed:
            self._move(message, Place.GATHERED)
        elif (past.shared and self._released and message.place is Place.NEW) or past.time > now + CLOCK_STEP:
            self._ready(message)  # what an earlier runner put off is tried again; what is of the future, a wrong clock wrote
        else:
            self.put_back(message, put_off=past.shared)
            self.place(message, now)

    def _remember(self, message: Queued, history: History) -> None:
        before = message.state
        message.history = history
        if message.state != before and message.id in self._messages and message.place is not Place.SENT:
            self.tally.changes(before, message.state)

    def _ready(self, message: Queued) -> None:
        if message.trouble.deaths:
            self._move(message, Place.SUSPECT)
            return
        self._move(message, Place.READY)
        self._lanes.add(message.id, message.uid, message.lane, large=message.large)
        self.newly_ready.append(message.id)

    def _taken(self, queue_id: str | None) -> Queued | None:
        if queue_id is None:
            return None
        self._move(self._messages[queue_id], Place.IN_HAND)
        return self._messages[queue_id]

    def _move(self, message: Queued, place: Place) -> None:
        if message.id in self._messages:
            self.tally.moves(message, place)
        message.place = place

    def _is_ready(self, queue_id: str) -> bool:
        return self._stands(queue_id, Place.READY)

    def _stands(self, queue_id: str, place: Place) -> bool:
        return queue_id in self._messages and self._messages[queue_id].place is place
