"""Which mail is local root's to be handed over, and which comes from there."""

import pytest

from proxmox_graph_mail.root_mail.decision import given_up, in_circle
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.journal import History
from tests.message.test_corpus import PVE1

SERVICE = 990


@pytest.mark.parametrize(
    ("uid", "service", "notify", "head", "circle"),
    [
        (0, SERVICE, "", b"", False), (1000, SERVICE, "", b"Subject: x\n", False),
        (SERVICE, SERVICE, "", b"", True),  # our own
        (0, 0, "", b"", False),  # a checkout run by root alone has no service user
        (0, SERVICE, "NEVER", b"", True),
        (0, SERVICE, "", b"Delivered-To: Root@PVE1.example.com\n\n", True),
        (0, SERVICE, "", b"Subject: x\n\nDelivered-To: root@pve1.example.com\n", False),
    ],
)  # fmt: skip
def test_what_comes_back_is_known_by_its_marks(uid: int, service: int, notify: str, head: bytes, circle: bool) -> None:
    """Else it would be handed over again and again."""
    envelope = Envelope(sender="root", recipients=("root",), uid=uid, arrived=1.0, notify=notify)
    assert in_circle(envelope, head, PVE1, service) is circle


def test_what_came_by_smtp_is_never_handed_over() -> None:
    """Whoever's it is: a target of Proxmox's own may have sent it, and it bears no other mark."""
    envelope = Envelope(sender="root", recipients=("root",), uid=0, arrived=1.0, protocol="smtp")
    assert in_circle(envelope, b"Subject: x\n\n", PVE1, SERVICE)


@pytest.mark.parametrize(
    ("state", "at", "over"),
    [("", 0.0, False), (journal.ASKED, 1000.0, False), (journal.ASKED, 820.0, True), (journal.ASKED, 1100.0, True),
     (journal.FAILED, 1000.0, True), (journal.DONE, 0.0, False)],
)  # fmt: skip
def test_a_hand_over_is_waited_for_three_minutes(state: str, at: float, over: bool) -> None:
    """By the clock that asked; one asked in the future was asked by a wrong clock."""
    assert given_up(History(hand_over=state, hand_over_at=at), 1000.0) is over
