"""Whose message is next, and what is suspected."""

import os

from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.delivery.index import DEATHS, READ_AT_ONCE, Index
from proxmox_graph_mail.delivery.queued import Place, Queued
from proxmox_graph_mail.delivery.turns import Turns
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.store import Spool
from tests.programs import Host

NOW = 1e9
IDS = [f"{number:018X}" for number in range(1, 40)]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=39), st.sets(st.sampled_from(IDS)))
def test_users_take_turns_and_each_user_s_mail_keeps_its_order(mails: list[tuple[int, bool]], gone: set[str]) -> None:
    """Before anybody's N-th message comes nobody's (N+1)-th; what no longer waits is passed over."""
    owner = {queue_id: uid for queue_id, (uid, _) in zip(IDS, mails, strict=False)}
    turns = Turns(lambda queue_id: queue_id not in gone)
    for queue_id, (uid, large) in zip(IDS, mails, strict=False):
        turns.add(queue_id, uid, large=large)
    order: list[str] = []
    while (chosen := turns.next(large=True)) is not None:
        order.append(chosen)
    assert sorted(order) == [queue_id for queue_id in owner if queue_id not in gone]
    seen: dict[int, int] = {}
    last = 0
    for queue_id in order:
        uid = owner[queue_id]
        turn = seen[uid] = seen.get(uid, 0) + 1
        assert turn >= last
        last = turn
    for uid in set(owner.values()):
        own = [queue_id for queue_id in order if owner[queue_id] == uid]
        assert own == sorted(own)


def test_a_user_who_came_later_has_the_next_turn_each_time_one_is_free() -> None:
    """Turns are remembered from one choice to the next: who has ten thousand older mails does not get every place."""
    turns = Turns(lambda _: True)
    for queue_id in IDS[:20]:
        turns.add(queue_id, 1000, large=False)
    assert turns.next(large=True) == IDS[0]
    for queue_id in IDS[20:23]:
        turns.add(queue_id, 0, large=False)
    order = [turns.next(large=True) for _ in range(6)]
    assert [queue_id for queue_id in order if queue_id in IDS[20:23]] == IDS[20:23]


def test_a_large_mail_lets_small_ones_pass_and_keeps_its_place() -> None:
    """While another large one is in hand."""
    turns = Turns(lambda _: True)
    turns.add(IDS[0], 0, large=True)
    turns.add(IDS[1], 0, large=False)
    turns.add(IDS[2], 0, large=False)
    assert turns.next(large=False) == IDS[1]
    assert turns.next(large=True) == IDS[0]
    assert turns.next(large=True) == IDS[2]
    assert turns.next(large=True) is None


def test_one_user_s_alone_can_be_asked_for() -> None:
    """The last place is root's; whoever is passed over keeps his turn."""
    turns = Turns(lambda _: True)
    for queue_id, uid in zip(IDS[:4], (7, 8, 0, 7), strict=True):
        turns.add(queue_id, uid, large=False)
    assert turns.next(large=True, only=0) == IDS[2]
    assert turns.next(large=True, only=0) is None
    assert [turns.next(large=True) for _ in range(4)] == [IDS[0], IDS[1], IDS[3], None]


def test_those_that_were_set_apart_are_taken_later() -> None:
    """The last probes of a suspended queue keep their places."""
    turns = Turns(lambda _: True)
    for queue_id in IDS[:3]:
        turns.add(queue_id, 0, large=False)
    assert turns.next(large=True, apart_from={IDS[0], IDS[1]}) == IDS[2]
    assert turns.next(large=True, apart_from={IDS[0], IDS[1]}) is None
    assert [turns.next(large=True), turns.next(large=True)] == IDS[:2]


def messages(host: Host, ids: list[str]) -> Index:
    for queue_id in ids:
        path = host.spool / "queue" / queue_id
        path.touch()
        os.utime(path, (0, 0))
    index = Index(Spool(str(host.spool)))
    index.scan()
    index.advance(NOW)
    return index


def test_what_a_runner_died_of_is_known_to_the_next(host: Host) -> None:
    """Each death with it in hand counts; waiting does not, nor an orderly end."""
    ids = IDS[:2]

    def next_runner() -> tuple[Index, Queued, Queued]:
        index = messages(host, ids)
        one, two = sorted(index, key=lambda message: message.id)
        return index, one, two

    index, one, two = next_runner()
    assert (one.trouble.deaths, two.trouble.deaths) == (0, 0)
    index.suspected.write([one, two])
    index, one, two = next_runner()
    assert (one.trouble.deaths, two.trouble.deaths) == (1, 1)
    index.suspected.write([two])  # killed again, with two alone in hand
    index, one, two = next_runner()
    assert (one.trouble.deaths, two.trouble.deaths) == (1, 2)
    index.suspected.write([])  # an orderly end
    index, one, two = next_runner()
    assert (one.trouble.deaths, two.trouble.deaths) == (1, 2)
    index.suspected.outlived(one)  # a runner did not die of it
    for deaths in range(3, DEATHS + 1):
        index.suspected.write([two])
        index, one, two = next_runner()
        assert (one.trouble.deaths, two.trouble.deaths) == (0, deaths)


def test_whom_a_message_was_sent_to_outlives_a_disk_that_did_not_take_it(host: Host) -> None:
    """`queue flush` moves the due time, and the journal is read again; it may not know of everybody."""
    index = messages(host, IDS[:1])
    (message,) = index
    sent = Event(1.0, "deferred", "deferred", "partly sent", sent_to=("a@example.com",))
    index.happened(message, sent)  # and its line never reached the disk
    journal.append(str(host.spool / "queue"), message.id, sent._replace(sent_to=("b@example.com",)))
    os.utime(host.spool / "queue" / message.id, (2e9, 2e9))
    index.scan()
    index.advance(NOW)
    assert set(message.history.sent_to) == {"a@example.com", "b@example.com"}


def test_what_is_in_hand_is_overwritten_in_place(host: Host) -> None:
    """Shorter after longer; one file, however often it is written."""
    index = messages(host, IDS[:3])
    index.suspected.write(list(index))
    before = (host.spool / "in-flight").stat().st_ino
    index.suspected.write(message for message in index if message.id == IDS[0])
    assert (host.spool / "in-flight").read_text() == f"{IDS[0]} 0\n"
    assert (host.spool / "in-flight").stat().st_ino == before


def test_a_record_that_is_none_is_no_record(host: Host) -> None:
    """Junk, other people's files: nobody is suspected."""
    (host.spool / "in-flight").write_bytes(b"\xff\xfe\n../../etc 7\n000 1\n")
    assert [message.trouble.deaths for message in messages(host, IDS[:2])] == [0, 0]


def test_the_first_mail_does_not_wait_for_the_others_to_be_read(host: Host) -> None:
    """A scan reads names alone; then some messages are read at a time, oldest first, and what the FIFO tells of at once."""
    ids = [f"{number:018X}" for number in range(1, 3 * READ_AT_ONCE)]
    index = messages(host, ids)
    assert (len(index), index.ready(), index.reading()) == (len(ids), READ_AT_ONCE, True)
    first = index.take()
    assert first is not None
    assert first.id == ids[0]
    new = f"{7 << 40:018X}"
    (host.spool / "queue" / new).write_bytes(b'{"version":1,"uid":7,"x"')
    os.utime(host.spool / "queue" / new, (0, 0))
    index.look([new], NOW)
    second, third = index.take(), index.take()
    assert second is not None
    assert third is not None
    assert new in (second.id, third.id)  # its user's turn comes next, not after all that are unread
    while index.reading():
        index.advance(NOW)
    assert index.ready() == len(ids) + 1 - 3


def test_a_record_goes_with_its_file_and_the_counts_with_it(host: Host) -> None:
    """Nothing is remembered of what is gone; each change of state is counted."""
    index = messages(host, IDS[:4])
    assert index.tally.states["queued"] == 4
    one, two, three, four = sorted(index, key=lambda message: message.id)
    index.happened(one, Event(1.0, "attempt", "held", "no"))
    index.happened(two, Event(1.0, "attempt", "deferred", "busy"))
    index.sent(three)
    assert {state: count for state, count in index.tally.states.items() if count} == {"held": 1, "deferred": 1, "queued": 1}
    for message in (one, two, four):
        (host.spool / "queue" / message.id).unlink()
    index.scan()
    assert [message.id for message in index] == [three.id]
    (host.spool / "queue" / three.id).unlink()
    index.scan()
    assert len(index) == index.ready() == sum(index.tally.states.values()) == 0


def test_a_message_whose_time_changed_counts_once(host: Host) -> None:
    """Deferred, made due by an admin, deferred again: what stood in the heap for it no longer counts."""
    index = messages(host, IDS[:1])
    message = index.take()
    assert message is not None
    for wait in (500.0, 100.0, 900.0):
        message.due = NOW + wait
        index.place(message, NOW)
        assert (message.place, index.ready()) == (Place.WAITING, 0)
    index.advance(NOW + 899)
    assert index.ready() == 0
    index.advance(NOW + 900)
    assert index.ready() == 1
    assert index.take() is message
    assert index.take() is None


def test_a_record_takes_little_memory() -> None:
    """A hundred thousand may wait: at most 300 bytes each, with what the index keeps for it."""
    import tracemalloc

    ids = [f"{number:018X}" for number in range(20_000)]
    tracemalloc.start()
    known = {queue_id: Queued(queue_id) for queue_id in ids}
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    line = 8 + 8  # its places in its user's heap and among what is newly ready
    assert size / len(known) + line + len(ids[0]) + 49 < 300


def test_what_an_earlier_runner_put_off_is_tried_when_everything_was_released(host: Host) -> None:
    """A start releases it, though its journal is read only later; what waits for itself goes on waiting."""
    queue = str(host.spool / "queue")
    for queue_id, shared in zip(IDS[:2], (True, False), strict=True):
        (host.spool / "queue" / queue_id).touch()
        journal.append(queue, queue_id, Event(NOW - 5, "attempt", "held", "no", shared=shared))
        os.utime(host.spool / "queue" / queue_id, (NOW + 900, NOW + 900))
    index = Index(Spool(str(host.spool)))
    index.scan()
    index.release()
    index.advance(NOW)
    first = index.take()
    assert first is not None
    assert first.id == IDS[0]
    assert index.take() is None
    again = Index(Spool(str(host.spool)))  # a single pass releases nothing by itself
    again.scan()
    again.advance(NOW)
    assert again.ready() == 0
    again.release()
    assert again.ready() == 1
