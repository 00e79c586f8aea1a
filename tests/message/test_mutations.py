"""Ten thousand broken mails: none raises, none loses an attachment that the standard library's parser sees."""

import email
import email.message
import random

import pytest

from proxmox_graph_mail.graph.message import graph_message, request_body
from proxmox_graph_mail.graph.mime import mime_form
from proxmox_graph_mail.message.content import base64
from proxmox_graph_mail.message.parse import parse
from proxmox_graph_mail.message.recipients import recipients
from proxmox_graph_mail.rfc822.header import start_of_message
from tests.message.test_corpus import AT, BOOK, CORPUS

MAILS = [path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))]
ROUNDS, EACH = 20, 500
SALT = (
    b"\n", b"\r", b"\0", b"\n\n", b"--", b"--B\n", b"--B--\n", b":", b"=?utf-8?B?", b"?=", b"=", b"\xff", b"\xc3", b"Content-Type: ",
    b"multipart/mixed; boundary=", b"message/rfc822\n", b"Content-Transfer-Encoding: base64\n", b"charset=", b"\x1b$B", b" ", b"\t", b'"', b"<", b";",
)  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    """A mail of the corpus, cut, salted, mixed with another, turned round."""
    data = bytearray(rng.choice(MAILS))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 5, 40, 400)))
        kind = rng.randrange(6)
        if kind == 0:
            del data[at:end]
        elif kind == 1:
            data[at:at] = rng.choice(SALT) * rng.choice((1, 1, 1, 30))
        elif kind == 2:
            data[at:end] = rng.randbytes(end - at)
        elif kind == 3:
            data[at:at] = data[at:end]
        elif kind == 4:
            other = rng.choice(MAILS)
            start = rng.randrange(len(other) + 1)
            data[at:at] = other[start : start + 500]
        else:
            data[at:end] = data[at:end].swapcase()
    return bytes(data)


def seen_by_the_library(data: bytes) -> list[bytes]:
    """The contents of the leaves that are no text, as the standard library has them; what is in an attached mail is its."""
    found: list[bytes] = []

    def walk(part: email.message.Message, depth: int) -> None:
        if part.is_multipart() and part.get_content_maintype() == "multipart" and depth < 40:
            for child in part.get_payload():
                if isinstance(child, email.message.Message):
                    walk(child, depth + 1)
        elif part.get_content_maintype() not in ("text", "message", "multipart"):
            content = part.get_payload(decode=True)
            if isinstance(content, bytes) and content.strip():
                found.append(content)

    try:
        walk(email.message_from_bytes(data), 0)
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError, IndexError, AssertionError):
        return []  # it raises on some of them; ours must not
    return found


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_broken_mail_neither_raises_nor_loses_an_attachment(seed: int) -> None:
    """Deterministic by its seed."""
    rng = random.Random(seed)
    for _ in range(EACH):
        data = mutated(rng)
        mail = parse(data)
        message = graph_message(mail, recipients(["admin@example.com"], mail, BOOK), AT)
        assert request_body(message, save_to_sent_items=False)
        mime_form(data[start_of_message(data) :], mail, recipients(["admin@example.com"], mail, BOOK), AT)
        if data.startswith((b"From ", b">From ")) or b"\r" in data or b"\0" in data:
            continue  # these we repair first, and see more than the library
        contents = [attachment.content for attachment in mail.attachments]
        for content in seen_by_the_library(data):
            # What the library leaves encoded, or decodes the beginning of, we have decoded.
            decoded = base64(content.decode("latin-1")) or content
            assert any(one.startswith(content) or one == decoded for one in contents), (seed, data)
