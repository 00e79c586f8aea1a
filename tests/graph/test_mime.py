"""The MIME form: to the byte what was submitted, but for what must differ."""

import email
import email.policy
import random
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.graph.mime import mime_form
from proxmox_graph_mail.message.mail import Mailbox
from proxmox_graph_mail.message.parse import parse
from proxmox_graph_mail.message.recipients import Recipients
from proxmox_graph_mail.rfc822.header import start_of_message
from tests.message.test_corpus import AT, CORPUS
from tests.programs import Host, Sandbox

TO = Recipients(to=(Mailbox("Ops, the team", "ops@example.com"),), bcc=(Mailbox("", "hidden@example.com"),))
SIGNED = (
    b'From: me@pve1\nSubject: signed\nContent-Type: multipart/signed; micalg="sha-256"; protocol="application/pkcs7-signature"; boundary="S"\n\n'
    b"--S\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nsigned =\n3D text  \n\n--S\n"
    b"Content-Type: application/pkcs7-signature\nContent-Transfer-Encoding: base64\n\nAAAA\n--S--\n"
)


def form(data: bytes, people: Recipients = TO) -> bytes:
    made = mime_form(data, parse(data), people, AT)
    assert made is not None
    return made


def read(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_the_envelope_is_in_the_header_and_nobody_else() -> None:
    """To, Cc and Bcc are rewritten, Resent- and Bcc of the original gone, From is the mailbox with the name of host and origin."""
    data = (
        b"From: root (Cron Daemon)\nTo: root\nCc: x@example.com\nBcc: y@example.com\nResent-To: z@example.com\n"
        b"Return-Path: <r@x>\nSubject: s\n\nb\n"
    )
    message = read(form(data))
    assert message["To"] == '"Ops, the team" <ops@example.com>'
    assert message["Bcc"] == "hidden@example.com"
    assert message["Cc"] is None
    assert message["Resent-To"] is None
    assert message["From"].addresses[0].addr_spec == "pve@example.com"
    assert message["From"].addresses[0].display_name == "root@pve1 (Cron Daemon)"
    assert message["Message-ID"] == "<0655F19D01A53F00AB@pve1.example.com>"
    assert message["Date"]


def test_everything_else_is_kept_to_the_byte() -> None:
    """Threads, lists, auto-submitted, odd spacing, line ends, the body."""
    kept = (
        b"Auto-Submitted: auto-generated;\r\nList-Unsubscribe:  <mailto:x@y>\r\nIn-Reply-To: <a@b>\r\n"
        b"Message-ID: <c@d>\r\nDate: Tue, 30 Jun 2026 04:00:13 +0200\r\nMIME-Version: 1.0\r\nSubject: =?utf-8?B?w7w=?=\r\n\tfolded\r\n"
    )
    body = b"\r\nline \r\n.\r\n--not a boundary\r\n\xff8bit"
    made = form(b"To: root\r\n" + kept + body)
    assert made.endswith(kept + body)
    assert made.count(b"Message-ID") == 1


def test_quoted_printable_becomes_base64_wherever_it_is() -> None:
    """Nested parts too; their neighbours stay as they are."""
    inner = EmailMessage()
    inner["Subject"] = "nested"
    inner.set_content("ü" * 100 + "=3D\n", cte="quoted-printable")
    inner.add_alternative("<p>ü</p>" * 30, subtype="html", cte="quoted-printable")
    inner.add_attachment(b"\0\1\2", maintype="application", subtype="octet-stream", filename="a.bin")
    data = inner.as_bytes()
    made = form(data)
    assert b"quoted-printable" not in made
    before, after = read(data), read(made)
    parts = list(zip(before.walk(), after.walk(), strict=True))
    assert [a.get_content_type() for a, _ in parts] == [b.get_content_type() for _, b in parts]
    for old, new in parts:
        if not old.is_multipart():
            assert new.get_content() == old.get_content()


def test_what_is_signed_is_not_touched() -> None:
    """Not a byte inside, whatever its encoding."""
    assert form(SIGNED).partition(b"\n\n")[2] == SIGNED.partition(b"\n\n")[2]
    assert parse(SIGNED).sealed


def test_a_raw_subject_is_encoded_and_means_the_same() -> None:
    """mail(1) writes UTF-8 into the header."""
    made = form("Subject: Größe überschritten — Platte voll\n\nb".encode())
    made.partition(b"\n\n")[0].decode("ascii")
    assert read(made)["Subject"] == "Größe überschritten — Platte voll"


@pytest.mark.parametrize(
    "data", [b"no header at all\n\nx", b"Subject: a\rBcc: x@y\n\nb", b"Subject: a\0b\n\nb", b"Subject: a\nnot a field\n\nb"]
)
def test_what_has_no_mime_header_has_no_mime_form(data: bytes) -> None:
    """It goes as JSON, which needs none; a bare CR forges nothing."""
    assert mime_form(data, parse(data), TO, AT) is None


ODD = {"blank-before-the-colon", "encoded-word-not-folded"}  # in these the standard library sees no header


@pytest.mark.parametrize("name", sorted({path.stem for path in CORPUS.glob("*.eml")} - ODD))
def test_the_corpus_keeps_its_leaves(name: str) -> None:
    """Each message of the corpus that has a MIME form: the same parts with the same content."""
    data = (CORPUS / f"{name}.eml").read_bytes()
    start = start_of_message(data)
    made = mime_form(data[start:], parse(data), TO, AT)
    if made is not None:
        old, new = (email.message_from_bytes(bytes_) for bytes_ in (data[start:], made))
        assert [part.get_payload(decode=True) for part in new.walk()] == [part.get_payload(decode=True) for part in old.walk()]


def test_an_author_whose_address_is_not_ascii_is_no_reply_to() -> None:
    """No header of a MIME message can carry it without SMTPUTF8; the mail itself can."""
    data = "From: J\u00f6rg <j\u00f6rg@example.com>\nSubject: x\n\ny\n".encode()
    form = mime_form(data, parse(data), TO, AT)
    assert form is not None
    assert b"reply-to" not in form.lower()


@given(st.binary(max_size=300), st.integers(0, 40), st.randoms(use_true_random=False))
def test_broken_mail_never_raises(noise: bytes, at: int, rng: random.Random) -> None:
    """Cut, mixed and salted."""
    data = bytearray(SIGNED if rng.random() < 0.5 else (CORPUS / "attachment.eml").read_bytes())
    place = len(data) * at // 40
    data[place:place] = noise
    mime_form(bytes(data), parse(bytes(data)), TO, AT)


def mime(mail: dict[str, Any]) -> EmailMessage:
    return read(mail["message"]["mime"].encode("latin-1"))


def test_mail_format_mime_arrives_as_it_was(online: Host, sandbox: Sandbox) -> None:
    """Text and HTML, Auto-Submitted and all, to the envelope's recipients; soft line breaks survive Graph."""
    online.settle(sandbox.settings(MAIL_FORMAT="mime"))
    message = EmailMessage()
    message["To"], message["Subject"], message["Auto-Submitted"] = "someone@else.example", "both", "auto-generated"
    text = "".join(f"{number}=3D ü FF00AA {'0123456789ABCDEF' * 8}\n" for number in range(50))
    message.set_content(text, cte="quoted-printable")
    message.add_alternative("<p>html</p>", subtype="html")
    online.sendmail("-odq", "root", stdin=message.as_bytes())
    assert online.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    arrived = mime(mail)
    body = arrived.get_body(("plain",))
    assert body is not None
    assert body.get_content() == text
    assert arrived["Auto-Submitted"] == "auto-generated"
    assert [a.addr_spec for a in (arrived["To"] or arrived["Bcc"]).addresses] == ["admin@example.com"]


def test_a_refused_mime_form_goes_as_json_and_says_so(online: Host, sandbox: Sandbox) -> None:
    """…at once, and the log names the code."""
    online.settle(sandbox.settings(MAIL_FORMAT="mime"))
    sandbox.faults({"on": "sendMail", "status": 400, "code": "ErrorMimeContentInvalid"})
    online.sendmail("-odq", "root")
    assert online.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    assert "mime" not in mail["message"]
    assert any("Graph refused the MIME form (ErrorMimeContentInvalid)" in line for line in online.syslog.read())


def test_a_signed_mail_takes_the_mime_form_by_itself(online: Host, sandbox: Sandbox) -> None:
    """Whatever MAIL_FORMAT says."""
    online.sendmail("-odq", "root", stdin=SIGNED)
    assert online.admin("run", "--once").returncode == 0
    (mail,) = sandbox.accepted()
    assert mime(mail).get_content_type() == "multipart/signed"


def test_one_too_large_for_the_mime_form_goes_as_json(online: Host, sandbox: Sandbox) -> None:
    """3 MB fit as JSON."""
    online.settle(sandbox.settings(MAIL_FORMAT="mime"))
    online.sendmail("-odq", "root", stdin=b"Subject: big\n\n" + b"x" * 3_000_000)
    assert online.admin("run", "--once").returncode == 0
    assert "mime" not in sandbox.accepted()[0]["message"]
    assert any("too large for the MIME form" in line for line in online.syslog.read())


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('Content-Type: text/html; charset=utf-8; name="Übersicht; neu.html"', "name*=utf-8''%C3%9Cbersicht%3B%20neu.html"),
        ("Content-Type: text/plain; name=größe.txt", "name*=utf-8''gr%C3%B6%C3%9Fe.txt"),
        ("Content-Disposition: attachment; filename=\"ü.pdf\"; size=3", "filename*=utf-8''%C3%BC.pdf; size=\"3\""),
        ("Reply-To: Jörg Müller <jm@example.com>", "Reply-To: =?utf-8?b?SsO2cmcgTcO8bGxlcg==?= <jm@example.com>"),
        ("Reply-To: ü <ü@exämple.com>, b@example.com", "Reply-To: b@example.com"),
        ("Subject: =?utf-8?Q?gr=C3=BC=C3=9Fe?= und größer", "=?utf-8?b?Z3LDvMOfZSB1bmQgZ3LDtsOfZXI=?="),
        ("X-Note : grün", "X-Note: =?utf-8?b?Z3LDvG4=?="),
    ],
)  # fmt: skip
def test_raw_text_in_a_header_is_written_as_the_standards_say(field: str, expected: str) -> None:
    """RFC 2231 for parameters, addresses outside of words, no word encoded twice; the type stays what it was."""
    data = f"From: jörg@exämple.com\n{field}\n\nbody\n".encode()
    made = mime_form(data, parse(data), TO, AT)
    assert made is not None
    assert expected in made.decode("ascii")
    if field.startswith("Content-Type"):
        assert email.message_from_bytes(made).get_content_type() == field.split(" ")[1].strip(";")


def test_a_part_s_boundary_survives_a_raw_name_beside_it() -> None:
    """A multipart keeps its parts."""
    data = 'Content-Type: multipart/mixed; name="ü"; boundary="a b"\n\n--a b\nContent-Type: text/plain\n\nx\n--a b--\n'.encode()
    made = mime_form(data, parse(data), TO, AT)
    assert made is not None
    assert email.message_from_bytes(made).get_boundary() == "a b"


def test_a_signed_part_inside_of_a_mixed_one_keeps_its_bytes() -> None:
    """A list's footer, or a gateway's, beside what is signed: the mail goes in its MIME form."""
    signed = "--S\nContent-Type: text/plain\n\nsigned=20\n--S\nContent-Type: application/pgp-signature\n\nsig\n--S--"
    data = (
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: multipart/signed; boundary=S\n\n"
        f"{signed}\n--B\nContent-Type: text/plain\n\nfooter\n--B--\n"
    ).encode()
    assert parse(data).sealed
    made = mime_form(data, parse(data), TO, AT)
    assert made is not None
    assert signed.encode() in made
    assert not parse(data.replace(b"multipart/signed", b"multipart/related")).sealed
