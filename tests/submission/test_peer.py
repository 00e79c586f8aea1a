"""Whose a TCP connection is: a guest's number, its name, and the networks that may send."""

import socket
from typing import Any

import pytest

from proxmox_graph_mail.host import GUESTS, guest_name, login_name
from proxmox_graph_mail.spool.envelope import Envelope, uid_of
from proxmox_graph_mail.submission import receiver
from proxmox_graph_mail.submission.peer import NOBODY_KNOWN, guest, is_admitted


class Connection:
    """A connection between two addresses."""

    def __init__(self, there: str, here: str) -> None:
        self.family = socket.AF_INET6 if ":" in there else socket.AF_INET
        self._names = (there, 40000), (here, 25)

    def getpeername(self) -> tuple[str, int]:
        return self._names[0]

    def getsockname(self) -> tuple[str, int]:
        return self._names[1]


def number(there: str, here: str = "10.10.10.1") -> int:
    connection: Any = Connection(there, here)
    return guest(connection)


def test_a_guest_has_a_number_that_no_user_can_have() -> None:
    """By its address; an IPv6 guest by its /64, which it can leave no more than a user can leave its own; this host is none."""
    assert number("10.10.10.101") == GUESTS + 0x0A0A0A65 > 2**32
    assert number("::ffff:10.10.10.101", "::ffff:10.10.10.1") == number("10.10.10.101")
    assert number("2001:db8::1", "2001:db8::2") == number("2001:db8::ffff", "2001:db8::2") >= 2 * GUESTS
    assert number("2001:db8:0:1::1", "x") != number("2001:db8:0:2::1", "x")
    assert number("10.10.10.1") == NOBODY_KNOWN
    envelope = Envelope(sender="root@ct101", recipients=("a@example.com",), uid=number("10.10.10.101"), arrived=1.0)
    assert uid_of(envelope.encode()[:100]) == number("10.10.10.101")


def test_its_name_is_the_host_s_for_its_address(tmp_path: Any) -> None:
    """/etc/hosts, else the address."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.10.10.101\tct101 ct101.example.com # web\n")
    assert guest_name(number("10.10.10.101"), str(hosts)) == "ct101"
    assert guest_name(number("10.10.10.102"), str(hosts)) == "10.10.10.102"
    assert login_name(number("192.0.2.200")) == "192.0.2.200"
    assert login_name(number("2001:db8::1", "x")).startswith("guest")


@pytest.mark.parametrize(
    ("address", "networks", "admitted"),
    [
        ("10.10.10.9", "10.10.10.0/24", True), ("10.10.11.9", "10.10.10.0/24", False), ("10.10.10.9", "", False), ("10.10.10.9", "nonsense 10.0.0.0/8", True),
        ("2001:db8::9", "10.0.0.0/8 2001:db8::/32", True), ("2001:db9::9", "2001:db8::/32", False), ("::ffff:10.10.10.9", "10.10.10.9", True),
        ("10.10.10.9", "0.0.0.0/33", False),
    ],
)  # fmt: skip
def test_only_networks_that_were_named_may_send(address: str, networks: str, admitted: bool) -> None:
    """None by default; what is no network admits nobody."""
    assert is_admitted(address, networks) is admitted


def test_all_guests_together_leave_room_for_the_host_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes many addresses has no more connections than all guests may have."""
    made = receiver.Receiver([])
    made._serving = {pid: GUESTS + pid for pid in range(receiver.GUESTS_TOTAL)}
    monkeypatch.setattr(receiver, "uid_by_tcp", lambda _: NOBODY_KNOWN)
    monkeypatch.setenv("PROXMOX_GRAPH_MAIL_NETWORKS", "10.10.10.0/24")
    said: list[bytes] = []
    connection: Any = Connection("10.10.10.101", "10.10.10.1")
    connection.send = lambda text, _: said.append(text)
    made._take(connection)
    assert said == [receiver.SMTP_BUSY]


def test_a_client_that_is_nobody_s_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have the service user's limits, and those are none."""
    monkeypatch.setattr(receiver, "uid_by_tcp", lambda _: NOBODY_KNOWN)
    said: list[bytes] = []
    connection: Any = Connection("127.0.0.1", "127.0.0.1")
    connection.send = lambda text, _: said.append(text)
    receiver.Receiver([])._take(connection)
    assert said == [receiver.SMTP_GONE]
