"""Whose message is next."""

from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.delivery.turns import DEATHS, Suspects, in_turns
from proxmox_graph_mail.spool import Entry, Spool
from tests.programs import Host

IDS = [f"{number:018X}" for number in range(1, 40)]


@given(st.lists(st.integers(0, 3), max_size=39))
def test_users_take_turns_and_each_user_s_mail_keeps_its_order(uids: list[int]) -> None:
    """Before anybody's N-th message comes nobody's (N+1)-th."""
    entries = [Entry(queue_id, 0, 1) for queue_id, _ in zip(IDS, uids, strict=False)]
    owner = dict(zip(IDS, uids, strict=False))
    order = [entry.id for entry in in_turns(entries, owner.__getitem__)]
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


def test_what_a_runner_died_of_is_known_to_the_next(host: Host) -> None:
    """Each death with it in hand counts; waiting does not, nor an orderly end."""
    spool = Spool(str(host.spool))
    one, two = IDS[0], IDS[1]
    first = Suspects(spool)
    assert first.deaths(one) == 0
    first.record([one, two])
    second = Suspects(spool)
    assert (second.deaths(one), second.deaths(two)) == (1, 1)
    second.record([two])  # killed again, with two alone in hand
    third = Suspects(spool)
    assert (third.deaths(one), third.deaths(two)) == (1, 2)
    third.record([])  # an orderly end
    fourth = Suspects(spool)
    assert (fourth.deaths(one), fourth.deaths(two)) == (1, 2)
    fourth.clear(one)
    last = fourth
    while last.deaths(two) < DEATHS:
        assert last.deadly() == []
        last.record([two])
        last = Suspects(spool)
    assert last.deaths(one) == 0
    assert last.deadly() == [two]


def test_a_record_that_is_none_is_no_record(host: Host) -> None:
    """Junk, other people's files: nobody is suspected."""
    (host.spool / "in-flight").write_bytes(b"\xff\xfe\n../../etc 7\n000 1\n")
    assert Suspects(Spool(str(host.spool))).deadly() == []
