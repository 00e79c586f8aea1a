"""The envelope: round trip, and nothing in it that could forge a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.errors import DataError
from proxmox_graph_mail.rfc822.header import fields, header_recipients
from proxmox_graph_mail.spool.envelope import Envelope, decode

field_text = st.text(
    st.characters(exclude_categories=(), exclude_characters=[chr(c) for c in (*range(32), *range(127, 160))]), max_size=30
)


@given(field_text, st.lists(field_text, max_size=5), st.integers(0, 2**32 - 1), st.integers(0, 2**33), field_text, field_text)
def test_an_envelope_survives_the_spool(
    sender: str, recipients: list[str], uid: int, arrived: int, full_name: str, notify: str
) -> None:
    """decode(encode(x)) is x, on one line, whatever the texts hold, lone surrogates of raw bytes included."""
    envelope = Envelope(sender=sender, recipients=tuple(recipients), uid=uid, arrived=arrived, full_name=full_name, notify=notify)
    line = envelope.encode()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line).encode() == line


@pytest.mark.parametrize("bad", ["\n", "\r", "\0", "\x1b", "\x7f", "\t", "\x80", "\x85", "\x9b", "\x9f"])
@pytest.mark.parametrize("where", ["sender", "recipients", "full_name", "notify"])
def test_control_characters_are_refused_in_every_field(bad: str, where: str) -> None:
    """A line end in an address once forged spool headers in exim."""
    values: dict[str, object] = {"sender": "s", "recipients": ("r",), "full_name": "", "notify": ""}
    values[where] = (f"x{bad}y",) if where == "recipients" else f"x{bad}y"
    with pytest.raises(DataError):
        Envelope(uid=0, arrived=0.0, **values)  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_damaged_lines_are_told_apart(line: bytes) -> None:
    """What is no envelope raises DataError and nothing else."""
    with pytest.raises(DataError):
        decode(line)


def test_t_takes_to_cc_and_bcc_folded_and_repeated() -> None:
    """-t reads what RFC 5322 calls destination fields, in any case, folded, several of a kind, behind an mbox line."""
    head = b'From x\nTO: a@x,\n "B, c" <b@y>\ncc: c@z\r\nBcc:\n d@w (Dee)\nSubject: to: no@x\nTo: e@v\n\nCc: body@x\n'
    assert header_recipients(head) == ["a@x", "b@y", "c@z", "d@w", "e@v"]


def test_resent_fields_take_the_others_place() -> None:
    """RFC 5322 3.6.6."""
    assert header_recipients(b"To: a@x\nResent-To: r@x\nResent-Bcc: s@x\n\n") == ["r@x", "s@x"]


def test_the_body_begins_where_no_field_is() -> None:
    """A first line that is no header field is body, and no recipient is read from it."""
    assert fields(b"hello world\nTo: a@x\n\n") == []
    assert header_recipients(b"Subject: x\nnot a field\nTo: a@x\n") == []
