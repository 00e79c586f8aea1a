"""Whose message is next, and what is suspected."""

import os

from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.delivery.index import DEATHS, Index, Queued
from proxmox_graph_mail.delivery.turns import in_turns
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import Event
from proxmox_graph_mail.spool.store import Spool
from tests.programs import Host

IDS = [f"{number:018X}" for number in range(1, 40)]


@given(st.lists(st.integers(0, 3), max_size=39))
def test_users_take_turns_and_each_user_s_mail_keeps_its_order(uids: list[int]) -> None:
    """Before anybody's N-th message comes nobody's (N+1)-th."""
    messages = [Queued(queue_id, uid, 1, 0.0) for queue_id, uid in zip(IDS, uids, strict=False)]
    owner = dict(zip(IDS, uids, strict=False))
    order = [message.id for message in in_turns(messages)]
    assert sorted(order) == IDS[: len(uids)]
    seen: dict[int, int] = {}
    last = 0
    for queue_id in order:
        uid = owner[queue_id]
        turn = seen[uid] = seen.get(uid, 0) + 1
        assert turn >= last
        last = turn
    for uid in set(uids):
        own = [queue_id for queue_id in order if owner[queue_id] == uid]
        assert own == sorted(own)


def test_probes_change_and_suspects_come_last() -> None:
    """While a queue is probed, whoever was the probe least often; what a runner may have died of, after everybody else."""
    one, two, three = (Queued(queue_id, 0, 1, 0.0) for queue_id in IDS[:3])
    one.probes, two.deaths = 1, 1
    assert in_turns([one, two, three], probing=True) == [three, one, two]
    assert in_turns([one, two, three]) == [one, three, two]


def messages(host: Host, ids: list[str]) -> Index:
    for queue_id in ids:
        (host.spool / "queue" / queue_id).touch()
    index = Index(Spool(str(host.spool)))
    index.scan()
    return index


def test_what_a_runner_died_of_is_known_to_the_next(host: Host) -> None:
    """Each death with it in hand counts; waiting does not, nor an orderly end."""
    ids = IDS[:2]

    def next_runner() -> tuple[Index, Queued, Queued]:
        index = messages(host, ids)
        one, two = index
        return index, one, two

    index, one, two = next_runner()
    assert (one.deaths, two.deaths) == (0, 0)
    index.write_in_flight([one, two])
    index, one, two = next_runner()
    assert (one.deaths, two.deaths) == (1, 1)
    index.write_in_flight([two])  # killed again, with two alone in hand
    index, one, two = next_runner()
    assert (one.deaths, two.deaths) == (1, 2)
    index.write_in_flight([])  # an orderly end
    index, one, two = next_runner()
    assert (one.deaths, two.deaths) == (1, 2)
    one.deaths = 0  # a runner outlived it
    for deaths in range(3, DEATHS + 1):
        index.write_in_flight([two])
        index, one, two = next_runner()
        assert (one.deaths, two.deaths) == (0, deaths)


def test_whom_a_message_was_sent_to_outlives_a_disk_that_did_not_take_it(host: Host) -> None:
    """`queue flush` moves the due time, and the journal is read again; it may not know of everybody."""
    index = messages(host, IDS[:1])
    (message,) = index
    sent = Event(1.0, "deferred", "deferred", "partly sent", sent_to=("a@example.com",))
    message.happened(sent)  # and its line never reached the disk
    journal.append(str(host.spool / "queue"), message.id, sent._replace(sent_to=("b@example.com",)))
    os.utime(host.spool / "queue" / message.id, (2e9, 2e9))
    index.scan()
    assert set(message.history.sent_to) == {"a@example.com", "b@example.com"}


def test_what_is_in_hand_is_overwritten_in_place(host: Host) -> None:
    """Shorter after longer; one file, however often it is written."""
    index = messages(host, IDS[:3])
    index.write_in_flight(list(index))
    before = (host.spool / "in-flight").stat().st_ino
    index.write_in_flight([next(iter(index))])
    assert (host.spool / "in-flight").read_text() == f"{IDS[0]} 0\n"
    assert (host.spool / "in-flight").stat().st_ino == before


def test_a_record_that_is_none_is_no_record(host: Host) -> None:
    """Junk, other people's files: nobody is suspected."""
    (host.spool / "in-flight").write_bytes(b"\xff\xfe\n../../etc 7\n000 1\n")
    assert [message.deaths for message in messages(host, IDS[:2])] == [0, 0]
