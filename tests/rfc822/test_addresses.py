"""RFC 5322 address lists, as programs really write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.rfc822.addresses import addresses, mailboxes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@x.y", [("", "a@x.y")]),
        ("a@x.y, b@x.y;c@x.y", [("", "a@x.y"), ("", "b@x.y"), ("", "c@x.y")]),
        ("Name <a@x.y>", [("Name", "a@x.y")]),
        ('"Last, First" <a@x.y>, b@x.y', [("Last, First", "a@x.y"), ("", "b@x.y")]),
        ("root (Cron Daemon)", [("Cron Daemon", "root")]),
        ("root@pve1.example.com (Cron (the) Daemon)", [("Cron (the) Daemon", "root@pve1.example.com")]),
        ("Proxmox VE <root>", [("Proxmox VE", "root")]),
        ("Proxmox Backup Server - pbs1 <root>", [("Proxmox Backup Server - pbs1", "root")]),
        ("team: a@x.y, B <b@x.y>;", [("", "a@x.y"), ("B", "b@x.y")]),
        ("undisclosed-recipients:;", []),
        ("<@relay,@other:a@x.y>", [("", "a@x.y")]),
        ("", []),
        (" , ,", []),
        ("root ", [("", "root")]),
        ('"a b"@x.y', [("", '"a b"@x.y')]),
        ("=?utf-8?Q?J=C3=BCrgen=2C_X?= <j@x.y>", [("=?utf-8?Q?J=C3=BCrgen=2C_X?=", "j@x.y")]),
        ("<>", [("", "")]),
        ("a@[192.0.2.1]", [("", "a@[192.0.2.1]")]),
        ("Name <a@x.y", [("Name", "a@x.y")]),
        ("broken <a@x.y, b@x.y", [("broken", "a@x.y"), ("", "b@x.y")]),
        ('"never closed <a@x.y>, b@x.y', [("never closed", "a@x.y"), ("", "b@x.y")]),
        ("(never closed a@x.y, b@x.y", [("", "never closed a@x.y"), ("", "b@x.y")]),
    ],
)
def test_lists(text: str, expected: list[tuple[str, str]]) -> None:
    """Each form that RFC 5322 or a real program writes gives its mailboxes."""
    assert mailboxes(text) == expected


@pytest.mark.parametrize(
    ("operand", "expected"),
    [("a@x b@y", ["a@x", "b@y"]), ("a@x,b@y", ["a@x", "b@y"]), ("Name <a@x>", ["a@x"]), ("root", ["root"]), ("", []), ("<>", [])],
)
def test_operands(operand: str, expected: list[str]) -> None:
    """In an operand blanks separate too."""
    assert addresses(operand) == expected


@given(st.text(alphabet='a@,;:<>()"\\ []\t\u00fc', max_size=60))
def test_any_text_is_read(text: str) -> None:
    """Nothing raises, and no address holds an unquoted separator's neighbour or a line end."""
    for _, address in mailboxes(text):
        assert "\n" not in address


def test_time_grows_with_the_length_only() -> None:
    """200 kB of any delimiter take no longer than a moment: no quadratic scan."""
    import time

    for piece in ("(", ")", "<", ">", '"', ",", ":", ";", "\\", "a@:", "<a,", '"(', " "):
        start = time.perf_counter()
        mailboxes(piece * (200_000 // len(piece)))
        assert time.perf_counter() - start < 2.0, piece
