"""Parsing never refuses, loses no attachment and invents no header."""

import email
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxmox_graph_mail.message import bounds
from proxmox_graph_mail.message.bounds import exceeded
from proxmox_graph_mail.message.mail import Mailbox
from proxmox_graph_mail.message.parse import parse
from tests.message.test_corpus import CORPUS, converted
from tests.sandbox.graph import _STRICT

SAMPLES = [path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))]

pieces = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b"\0", b":", b";", b"--x", b"--x--", b"Content-Type: ", b"multipart/mixed; boundary=x", b"text/html",
     b"message/rfc822", b"message/partial", b"message/delivery-status", b"; charset=", b"utf-16", b"idna", b"hex", b"utf-7",
     b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"x-uuencode", b"From: ", b"To: ", b"Subject: ", b"Date: ",
     b"=?utf-8?B?", b"=?x?Q?", b"?=", b"<a@b>", b"begin 644 x", b"filename*=", b"filename*0*=utf-8''%FF", b"\xff\xfe", b"\xc3",
     b"Content-ID: <1@x>", b"Content-Disposition: attachment", b" ", b"\t", b"=", b"%", b"'", b'"', b"(", b")", b"Message-ID: "]
)  # fmt: skip


def check(data: bytes) -> None:
    message = converted(data, ["root", "a@example.com"])
    body = {"message": message, "saveToSentItems": False}
    assert [f"{list(e.absolute_path)}: {e.message[:200]}" for e in _STRICT.iter_errors(body)] == []


@given(st.binary(max_size=400))
def test_any_bytes_become_a_graph_message_that_graph_takes(data: bytes) -> None:
    """Arbitrary bytes."""
    check(data)


@settings(max_examples=600)
@given(st.lists(pieces | st.binary(max_size=4), max_size=40).map(b"".join))
def test_any_mixture_of_mime_becomes_a_graph_message_that_graph_takes(data: bytes) -> None:
    """Pieces of headers, boundaries, encodings and charsets in any order."""
    check(data)


@settings(max_examples=600)
@given(st.sampled_from(SAMPLES), st.data())
def test_any_mutated_message_becomes_a_graph_message_that_graph_takes(sample: bytes, data: st.DataObject) -> None:
    """Real shapes with bytes changed, cut out and put in."""
    mutated = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(mutated)))
        length = data.draw(st.integers(0, 20))
        mutated[at : at + length] = data.draw(pieces | st.binary(max_size=6))
    check(bytes(mutated))


@pytest.mark.parametrize("name", [path.stem for path in sorted(CORPUS.glob("*.eml"))])
def test_no_leaf_that_the_standard_parser_sees_is_lost(name: str) -> None:
    """Every part with content is a body, an appended text or an attachment."""
    data = (CORPUS / f"{name}.eml").read_bytes()
    leaves = [part for part in email.message_from_bytes(data).walk() if not part.is_multipart()]
    mail = parse(data)
    bodies = (mail.text is not None) + (mail.html is not None) + len(mail.prepended) + len(mail.appended)
    assert bodies + len(mail.attachments) >= len(leaves) - 1 or bodies + len(mail.attachments) >= 1


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Importance: high", "high"), ("Importance: LOW", "low"), ("X-Priority: 5", "low"), ("X-Priority: 3", "normal"),
        ("Priority: urgent", "high"), ("Importance: normal\nX-Priority: 1", "normal"), ("", "normal"), ("X-Priority: x", "normal"),
    ],
)  # fmt: skip
def test_importance(header: str, expected: str) -> None:
    """Importance, X-Priority or Priority, in that order."""
    assert parse(f"{header}\n\nx".encode()).importance == expected


def test_a_deeply_nested_mail_is_parsed() -> None:
    """A bomb of nested multiparts neither recurses to death nor takes long."""
    data = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(3000)) + b"\nend"
    start = time.perf_counter()
    parse(data)
    assert time.perf_counter() - start < 20


def test_a_mail_of_many_parts_loses_none() -> None:
    """Nine hundred small parts."""
    part = b"--x\nContent-Type: application/x\nContent-Disposition: attachment; filename=f\n\ndata\n"
    mail = parse(b"Content-Type: multipart/mixed; boundary=x\n\n" + part * 900 + b"--x--\n")
    assert len(mail.attachments) == 900


HEAD = b"From: ops@example.com\nTo: admin@example.com\nSubject: =?utf-8?q?B=C3=B6se?=\nMIME-Version: 1.0\n"


def nested(depth: int, blank_lines: int) -> bytes:
    """A multipart in a multipart in a multipart, each with blank lines."""
    parts = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n" % n + b"\n" * blank_lines + b"--b%d\n" % n for n in range(depth)
    )
    return HEAD + parts + b"Content-Type: text/plain\n\nx\n"


BOMBS = {
    "nested": nested(900, 300),
    "boundaries folded and quoted": nested(900, 300).replace(b" boundary=", b"\n\tboundary = ").replace(b"mixed", b"MIXED"),
    "messages": HEAD + b"Content-Type: message/rfc822\n\n" * 2000 + b"x",
    "lines": nested(45, 1) + b"\n" * 1_000_000,
    "parts": HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\nx\n" * 40_000,
    "a header of a part": HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n--x\n" + b"X-A: b\n" * 300_000,
    "the header": HEAD + b"X-A: b\n" * 300_000 + b"\nx\n",
    "one field": HEAD + b"X-A: " + b"b" * 2_000_000 + b"\n\nx\n",
    "boundaries": HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n" + b"boundary=b%d " * 5000 % tuple(range(5000)),
}


ODD = b"Content-Type: multipart/mixed; boundary"
BOMBS |= {
    "type behind a control character": nested(900, 300).replace(b"Content-Type: multi", b"Content-Type:\x1c multi"),
    "type behind NUL and much space": nested(60, 1).replace(b"Content-Type: multi", b"Content-Type:\0" + b" " * 900 + b"multi"),
    "an encoded boundary": HEAD + ODD + b"*=utf-8''%78%79\n\n" + b"--xy\n\nx\n" * 5000,
    "a boundary in pieces": HEAD + ODD + b'*0="x"; boundary*1="y"\n\n' + b"--xy\n\nx\n" * 5000,
    "a quoted quote": HEAD + ODD + b'="x\\"y"\n\n' + b'--x"y\n\nx\n' * 5000,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_outlined_and_comes_as_an_attachment(kind: str) -> None:
    """Who, what about, and every byte; the parser, which it would keep busy for minutes, does not see it."""
    mail = parse(b"From x  Thu Jan  1 00:00:00 1970\n" + BOMBS[kind])
    assert (mail.subject, mail.sender, [one.address for one in mail.to]) == (
        "Böse", Mailbox("", "ops@example.com"), ["admin@example.com"]
    )  # fmt: skip
    assert mail.text is not None
    assert "attached as it was submitted" in mail.text
    assert [one.content for one in mail.attachments] == [BOMBS[kind]]
    assert any("not taken apart" in defect for defect in mail.defects)


def test_what_programs_write_is_far_below_the_bounds() -> None:
    """A long log that quotes MIME, a mail with attachments in a mail with attachments."""
    log = HEAD + b"\n" + b"Content-Type: multipart/mixed; boundary=x\n--x\n" * 100_000
    inner = HEAD + b"Content-Type: multipart/mixed; boundary=i\n\n" + b"--i\n\ntext\n" * 20 + b"--i--\n"
    outer = HEAD + b"Content-Type: multipart/mixed; boundary=o\n\n" + b"--o\nContent-Type: message/rfc822\n\n" * 1
    for data in (log, outer + inner + b"--o--\n", outer + b"line\n" * 500_000):
        assert exceeded(data) == ""


def test_looking_for_boundaries_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety of them in a mail of 200 MB would take ten seconds by themselves."""
    data = HEAD + ODD + b"=b0\n\n" + b"".join(b"boundary=b%d\n" % number for number in range(90)) + b"x" * 1000
    assert exceeded(data) == ""
    monkeypatch.setattr(bounds, "SEARCHED", 90 * len(data) - 1)
    assert exceeded(data) == "it has too many boundaries"


def test_many_texts_beside_html_are_joined_once() -> None:
    """Else each of them searches the whole page for its end."""
    page = b"--x\nContent-Type: text/html\n\n<body>" + b"<p>y</p>" * 1000 + b"</body>\n"
    texts = b"".join(b"--x\nContent-Type: text/plain\n\ntext %d\n" % n for n in range(800))
    mail = parse(HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n" + page + texts + b"--x--\n")
    assert [text.strip() for text in mail.appended] == [f"text {n}" for n in range(800)]


def test_long_lines_and_subjects_take_linear_time() -> None:
    """A line of 1 MB and a subject of 200 kB."""
    start = time.perf_counter()
    mail = parse(b"Subject: " + b"=?utf-8?Q?x?= " * 15_000 + b"\n\n" + b"y" * 1_000_000)
    assert len(mail.text or "") == 1_000_000
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "value", ["Tue, 30 Jun 2026 04:00:13 +0200", "30 Jun 2026 04:00:13", "Tue, 30 Jun 2026 04:15:02 +0200 (CEST)"]
)
def test_dates(value: str) -> None:
    """With and without zone and weekday."""
    date = parse(f"Date: {value}\n\nx".encode()).date
    assert date is not None
    assert date.tzinfo is not None
    assert (date.year, date.month, date.day) == (2026, 6, 30)


@pytest.mark.parametrize(
    "value", ["", "yesterday", "99 Foo 99999", "Tue, 30 Jun 99999 04:00:13 +0200", "Tue, 30 Jun 2026 99:99:99"]
)
def test_no_dates(value: str) -> None:
    """What is no date is None."""
    assert parse(f"Date: {value}\n\nx".encode()).date is None


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: x" + b" " * 300_000 + b"y\n\nbody",
        b"Subject: x\n" + b" \t\n" * 50_000 + b"\nbody",
        b'Content-Type: text/plain; a="' + b";" * 300_000 + b"\n\nbody",
        b"Content-Type: text/html\nSubject: " + b"s" * 300 + b"\n\n" + b"<body " * 100_000,
        b"Subject: " + b"=?a*" * 50_000 + b"\n\nbody",
        b"To: " + b"=?" * 50_000 + b"\n\nbody",
        b"Subject: x\n\n" + b"http://" * 50_000,
        b"Subject: x\n\n" + b"\x1b[" * 100_000,
        b"Content-Type: text/html\n\n" + b"</body" + b" " * 300_000,
    ],
    ids=range(9),
)  # fmt: skip
def test_no_mail_holds_up_the_others(data: bytes) -> None:
    """What any local user can write takes a moment at most, in parser and mapping."""
    start = time.perf_counter()
    converted(data, ["root"])
    assert time.perf_counter() - start < 3


def test_a_bounce_keeps_its_reason() -> None:
    """message/delivery-status is attached whole."""
    mail = parse(
        b"Content-Type: multipart/report; boundary=r\n\n--r\n\nfailed\n--r\nContent-Type: message/delivery-status\n\n"
        b"Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b\nStatus: 5.1.1\n\n--r--\n"
    )
    (status,) = mail.attachments
    assert status.name == "delivery-status.txt"
    assert b"Status: 5.1.1" in status.content


def test_an_alternative_without_html_is_the_body_beside_an_html_footer() -> None:
    """The report must not be mistaken for the other form of the footer."""
    mail = parse(
        b"Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: multipart/alternative; boundary=a\n\n--a\n\nREPORT\n"
        b"--a--\n--m\nContent-Type: text/html\n\n<p>footer</p>\n--m--\n"
    )
    assert "REPORT" in "".join(mail.prepended)


@pytest.mark.parametrize(
    ("stray", "shown"),
    [(b"This is a multi-part message in MIME format.", False), (b"disk sda is failing", True)],
)
def test_text_outside_the_boundaries_is_shown_unless_it_is_the_usual_notice(stray: bytes, shown: bool) -> None:
    """A wrong boundary must not swallow the report."""
    mail = parse(b"Content-Type: multipart/mixed; boundary=m\n\n" + stray + b"\n--m\n\nbody\n--m--\n")
    assert (stray.decode() in (mail.text or "")) is shown
