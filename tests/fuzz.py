"""Broken mails by the thousand: none raises in either form, and nothing that another parser sees in one is lost.

`make fuzz` takes 100,000, `make test` 2,000, both deterministic by their seed. A mail that once broke something becomes a file of
tests/corpus first.
"""

import email
import email.message
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from proxmox_graph_mail.graph.message import Circumstances, graph_message, request_body
from proxmox_graph_mail.graph.mime import mime_form
from proxmox_graph_mail.host import Host
from proxmox_graph_mail.message.aliases import Aliases
from proxmox_graph_mail.message.content import base64
from proxmox_graph_mail.message.mail import Mail
from proxmox_graph_mail.message.parse import parse
from proxmox_graph_mail.message.preamble import is_preamble
from proxmox_graph_mail.message.recipients import AddressBook, recipients
from proxmox_graph_mail.rfc822.header import section_end, start_of_message
from tests.lenient import haystack, texts, words

CORPUS = Path(__file__).parent / "corpus"
MAILS = [path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))]
PVE1 = Host(name="pve1", fqdn="pve1.example.com", names=frozenset({"pve1", "pve1.example.com", "localhost"}))
BOOK = AddressBook(PVE1, Aliases({}), ("admin@example.com",), "pve@example.com")
AT = Circumstances("0655F19D01A53F00AB", 1782784813.0, 1782784815.0, PVE1, "pve@example.com", "root")
EACH = 500  # mutants of a seed
SALT = (
    b"\n", b"\r", b"\0", b"\n\n", b"--", b"--B\n", b"--B--\n", b":", b"=?utf-8?B?", b"?=", b"=", b"\xff", b"\xc3", b"Content-Type: ",
    b"multipart/mixed; boundary=", b"message/rfc822\n", b"Content-Transfer-Encoding: base64\n", b"charset=", b"\x1b$B", b" ", b"\t", b'"', b"<", b";",
    b"\x08", b"\f", b"format=flowed", b"\xef\xbb\xbf", b"name*=", b"<html>", b"multipart/alternative; boundary=",
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


def seen_by_the_library(data: bytes) -> list[tuple[bytes, bytes]]:
    """The contents of the leaves that are no text, as the standard library has them, and as they are written; what is in an
    attached mail is its."""
    found: list[tuple[bytes, bytes]] = []

    def walk(part: email.message.Message, depth: int) -> None:
        if part.is_multipart() and part.get_content_maintype() == "multipart" and depth < 40:
            for child in part.get_payload():
                if isinstance(child, email.message.Message):
                    walk(child, depth + 1)
        elif part.get_content_maintype() not in ("text", "message", "multipart"):
            content = part.get_payload(decode=True)
            if isinstance(content, bytes) and content.strip():
                del part["Content-Transfer-Encoding"]
                found.append((content, bytes(part.get_payload(decode=True) or b"")))

    try:
        walk(email.message_from_bytes(data), 0)
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError, IndexError, AssertionError):
        return []  # it raises on some of them; ours must not
    return found


def lost(data: bytes) -> list[str]:
    """What is wrong with how a message arrives; raises where parsing or forming it does."""
    mail = parse(data)
    people = recipients(["admin@example.com"], mail, BOOK)
    message = graph_message(mail, people, AT)
    request_body(message, save_to_sent_items=False)
    raw = data[start_of_message(data) :]
    form = mime_form(raw, mail, people, AT)
    said = []
    if form is not None and b"quoted-printable" not in raw.lower() and not form.endswith(raw[section_end(raw)[1] :]):
        said.append("the MIME form changes the body")
    if b"\r" in data or b"\0" in data or data.startswith((b"From ", b">From ")):
        return said  # these we repair first, and see more than others
    if b"\xef\xbb\xbf" in data[3:]:
        return said  # in a field the library takes a byte order mark for a letter
    contents = [attachment.content for attachment in mail.attachments]
    for content, written in seen_by_the_library(data):
        # What the library leaves encoded, or decodes the beginning of, we have decoded; what is no base64, we leave.
        decoded = base64(content) or content
        if content == b"".join(written.splitlines()):
            content = base64(written.splitlines()[0]) or content
        there = any(
            one.startswith((content, written)) or one == decoded or (one and (content.startswith(one) or content.endswith(one)))
            for one in contents
        )
        shown = content[:20].decode("latin-1") in (mail.text or "")  # where a label is read in another way
        if not there and not shown and not content.lower().startswith(b"<html"):
            said.append(f"an attachment is lost: {content[:40]!r}")
    return said + missing_words(data, mail, message["body"]["content"], contents)


def missing_words(data: bytes, mail: Mail, page: str, contents: list[bytes]) -> list[str]:
    """The words that another parser sees, and that are nowhere."""
    more = [mail.subject, *(f"{name}: {value}" for name, value in mail.headers), *(one.name for one in mail.attachments)]
    hay = haystack(page, more, contents)
    return [
        f"{word!r} is nowhere"
        for text, raw in texts(data)
        if not is_preamble(text) and not all(line.decode("latin-1") in hay for line in raw.split())
        for word in dict.fromkeys(words(text))
        if word not in hay
    ]  # fmt: skip


def search(seed: int) -> list[str]:
    """EACH mutants of a seed; a line for each that is not as it should be."""
    rng = random.Random(seed)
    found = []
    for number in range(EACH):
        data = mutated(rng)
        try:
            said = lost(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            said = [f"{type(error).__name__}: {error}"]
        if said:
            found.append(f"seed {seed}, mutant {number}: {'; '.join(said[:5])}")
    return found


def main() -> None:
    """All processors; `python -m tests.fuzz MUTANTS [SEED NUMBER]` also writes one out."""
    if len(sys.argv) == 4:
        rng = random.Random(int(sys.argv[2]))
        for _ in range(int(sys.argv[3]) + 1):
            data = mutated(rng)
        sys.stdout.buffer.write(data)
        return
    mutants = int(sys.argv[1])
    started = time.monotonic()
    with ProcessPoolExecutor() as pool:
        found = [line for lines in pool.map(search, range(mutants // EACH)) for line in lines]
    print(
        *found,
        f"{mutants} mutants, {len(found)} faults, {time.monotonic() - started:.0f} s on {os.cpu_count()} processors",
        sep="\n",
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
