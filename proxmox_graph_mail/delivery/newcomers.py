"""What becomes of a message before its turn comes: root's part of it is handed over, and what comes again and again is gathered.

Each message is looked at once when it is ready, some at a time, whatever Graph says and at whatever pace mail goes.
"""

import contextlib
import time

from proxmox_graph_mail import log
from proxmox_graph_mail.delivery.configuration import Configuration
from proxmox_graph_mail.delivery.digest import begin
from proxmox_graph_mail.delivery.fold import Fold
from proxmox_graph_mail.delivery.index import READ_AT_ONCE, Index
from proxmox_graph_mail.delivery.queued import Place, Queued
from proxmox_graph_mail.delivery.settlement import Settlement
from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.root_mail.decision import NOTHING, Decision, RootPart, decide
from proxmox_graph_mail.spool import digests, journal
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.store import Spool

IN_PARTS = (RootPart.ASK, RootPart.WHOLE)


class Newcomers:
    """For the queue runner's main thread."""

    def __init__(self, spool: Spool, index: Index, settlement: Settlement, configuration: Configuration, fold: Fold) -> None:
        self._spool = spool
        self._index = index
        self._settlement = settlement
        self._configuration = configuration
        self._fold = fold
        self.reading = 1
        """The number of this reading of the settings."""
        self._looked_at_all = False

    def look_again(self) -> None:
        """The settings are others: who is to have which mail may be another."""
        self.reading += 1
        self._looked_at_all = False

    def look(self, now: float, *, suspended: bool) -> None:
        """At what became ready; once a suspension, at all that was."""
        ready = self._index.newly_ready
        if not suspended:
            self._looked_at_all = False
        elif not self._looked_at_all:
            self._looked_at_all = True
            ready.clear()
            ready.extend(message.id for message in self._index if message.place is Place.READY)
        for _ in range(min(READ_AT_ONCE, len(ready))):
            message = self._index.if_ready(ready.popleft())
            if message is not None:
                self._look_at(message, now)

    def root_part(self, message: Queued, now: float) -> Decision:
        """What is to be done about local root as a recipient of a message."""
        book = self._configuration.book
        if book is None or message.looked == self.reading or message.members:
            return NOTHING
        decision = decide(self._spool, message.id, message.history, book, now)
        if decision.part is RootPart.NONE:
            message.looked = self.reading
        if decision.part is RootPart.GIVEN_UP:
            self._spool.withdraw_hand_over(message.id)
        return decision

    def release_members(self) -> None:
        """Of digests that an admin removed, or that failed."""
        for digest in self._index.removed_digests:
            self.dissolve(digest)
        self._index.removed_digests.clear()
        for queue_id in self._index.left_alone():
            with contextlib.suppress(SpoolError):
                digests.dissolve(self._spool, self._index.claimed[queue_id])
            self._index.let_go(queue_id)

    def make_digests(self, now: float, *, everything: bool = False) -> None:
        """Of the groups whose time has come; one that is alone goes by itself."""
        for group in self._fold.due(now, everything=everything):
            members = [message for message in group if self._index.gathered(message.id) is message]
            if len(members) < 2 or self._fold.rule is None:
                for message in members:
                    self._index.let_go(message.id)
                continue
            try:
                queue_id = begin(self._spool, [message.id for message in members], now)
            except (SpoolError, DataError, OSError) as error:
                self._settlement.say_once(f"cannot make a digest: {error}; its members go one by one")
                for message in members:
                    self._index.let_go(message.id)
                continue
            self._index.claimed |= dict.fromkeys([message.id for message in members], queue_id)
            for message in members:
                self._note(message, f"in digest {queue_id}, and goes with it", now)
            self._index.look([queue_id], now)

    def dissolve(self, digest: Queued) -> None:
        """The members of a digest go by themselves after all."""
        try:
            digests.dissolve(self._spool, digest.id)
        except SpoolError as error:
            self._settlement.say_once(str(error))
        for queue_id in digest.members:
            self._index.let_go(queue_id)

    def recover(self) -> None:
        """After a start: which messages are in a digest, and what is left of those that were sent."""
        try:
            self._index.claimed, sent = digests.members(self._spool)
        except SpoolError as error:
            self._settlement.say_once(str(error))
            return
        for queue_id, members in sent.items():
            try:
                for member in members:
                    if self._spool.due(member) is not None:
                        self._spool.keep(member, time.time())
                        log.line(f"{member}: status=sent (in digest {queue_id})")
                self._spool.remove(queue_id)
                digests.finish(self._spool, queue_id)
            except SpoolError as error:
                self._settlement.say_once(str(error))
                # Graph has it: nothing of it goes again, and the next start tries to remove it.
                self._index.claimed |= dict.fromkeys((*members, queue_id), queue_id)

    def _note(self, message: Queued, reason: str, now: float) -> None:
        event = Event(round(now, 3), journal.GATHERED, "queued", reason)
        self._index.happened(message, event)
        journal.append(self._spool.queue, message.id, event)

    def _look_at(self, message: Queued, now: float) -> None:
        decision = self.root_part(message, now)
        if decision.part in IN_PARTS:
            self._index.take_this(message)
            self._settlement.settle_root_part(message, decision)
        elif decision.part is RootPart.NONE and self._fold.takes(message, now):
            self._index.gather(message)
            when = self._fold.goes_at(message)
            until = time.strftime("%H:%M", time.localtime(when))
            self._note(message, f"gathered with others like it; goes by {until}, as one mail with them", now)
            try:
                self._spool.defer(message.id, when)  # so that nobody takes it for mail that does not move
                message.due = when
            except SpoolError as error:
                self._settlement.say_once(str(error))
