"""A digest that Graph has: its members are said to be sent, and leave the queue with it."""

import contextlib
from dataclasses import replace

from proxmox_graph_mail import log
from proxmox_graph_mail.delivery.attempt import Delivery
from proxmox_graph_mail.delivery.index import Index
from proxmox_graph_mail.delivery.queued import Queued
from proxmox_graph_mail.delivery.record import Record
from proxmox_graph_mail.delivery.verdict import Verdict, log_line, recorded
from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.spool import digests, journal, usage
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.store import Spool, arrival


def tell(index: Index, record: Record | None, digest: Queued, delivery: Delivery, verdict: Verdict, now: float) -> None:
    """What is true of a digest is true of each message that is in it."""
    outcome = replace(verdict.outcome, reason=f"in digest {digest.id}")
    for queue_id in digest.members:
        member = index.gathered(queue_id)
        if member is not None:
            its = replace(delivery, arrived=arrival(queue_id), outcome=outcome)
            one = replace(verdict, outcome=outcome, attempts=0, delay=max(now - its.arrived, 0.0))
            log.line(log_line(queue_id, its, one))
            if record is not None:
                record.add(**recorded(queue_id, its, one, now))


def remember(spool: Spool, index: Index, digest: Queued, sent_to: tuple[str, ...], now: float) -> None:
    """Some have the digest, and so each message that is in it: they do not get it again."""
    event = Event(round(now, 3), journal.GATHERED, "queued", f"in digest {digest.id} for some of its recipients", sent_to=sent_to)
    for queue_id in digest.members:
        member = index.gathered(queue_id)
        if member is not None:
            index.happened(member, event)
            with contextlib.suppress(SpoolError):  # a full disk: the record remembers it while the runner lives
                journal.append(spool.queue, queue_id, event, durable=True)


def remove(spool: Spool, index: Index, digest: Queued, now: float) -> None:
    """A digest and its members, so that after a crash at any instant none of them is sent again. Raises SpoolError."""
    digests.mark_sent(spool, digest.id)
    went = 0
    for queue_id in digest.members:
        member = index.gathered(queue_id)
        if member is None:
            continue  # an admin removed it
        kept = queue_id in digest.trouble.kept
        size = 0 if kept else spool.size(queue_id)
        if kept:
            spool.keep(queue_id, now)
        else:
            spool.remove(queue_id, durable=False)
        usage.has_left(spool, member.uid, 1, size)
        went += 1
        index.sent(member)
        index.forget(member)
    if digest.uid > 0 and went > 1:
        with contextlib.suppress(DataError, FileNotFoundError):
            usage.gathered(spool, digest.uid, (went - 1) * len(spool.envelope(digest.id)[0].recipients), now)
    spool.remove(digest.id)
    digests.finish(spool, digest.id)
