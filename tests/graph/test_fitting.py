"""A mail that is too large becomes one that fits, and says what became of the rest."""

import gzip
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxmox_graph_mail.graph.fitting import BODY_LIMIT, beginning, fit, request_size
from proxmox_graph_mail.graph.message import graph_message, request_body
from proxmox_graph_mail.graph.permissions import REQUEST_LIMIT
from proxmox_graph_mail.message.mail import Attachment, Mail, Mailbox
from proxmox_graph_mail.message.recipients import Recipients
from tests.message.test_corpus import AT

NOISE = random.Random(7).randbytes(6_000_000)
LOG = "".join(f"INFO: line {number} of a backup job that says & < > much\n" for number in range(200_000))


def sent(mail: Mail, notes: tuple[str, ...], people: int = 1) -> bytes:
    """The request, as the runner makes it."""
    to = tuple(Mailbox("N" * 256, f"a{number}@example.com") for number in range(people))
    return request_body(graph_message(mail, Recipients(to=to), AT, notes=notes), save_to_sent_items=False)


def test_what_fits_stays_as_it_is() -> None:
    """No note, the same mail."""
    mail = Mail(text="x" * 3_000_000, attachments=(Attachment("a.log", "text/plain", b"y" * 300_000),))
    assert fit(mail, REQUEST_LIMIT).mail is mail
    assert fit(mail, REQUEST_LIMIT).notes == ()


def test_text_is_compressed_first_and_is_whole() -> None:
    """A log that compresses arrives as .gz; a picture that fits beside it is left alone."""
    picture, log = (
        Attachment("p.png", "image/png", NOISE[:500_000]),
        Attachment("a.log", "application/octet-stream", LOG.encode()),
    )
    fitted = fit(Mail(text="see the log", attachments=(picture, log)), REQUEST_LIMIT)
    same, packed = fitted.mail.attachments
    assert same is picture
    assert (packed.name, packed.content_type) == ("a.log.gz", "application/gzip")
    assert gzip.decompress(packed.content) == LOG.encode()
    assert fitted.notes == (f"Compressed: a.log ({len(LOG) / 1e6:.1f} MB).",)
    assert fitted.mail.text == "see the log"


@pytest.mark.parametrize("html", [False, True])
def test_a_long_body_is_cut_in_the_middle_and_lies_whole_beside(html: bool) -> None:
    """Beginning and end are shown in whole lines; the gap says how many are missing."""
    mail = Mail(html=f"<pre>{LOG}</pre>", text=LOG) if html else Mail(text=LOG)
    fitted = fit(mail, REQUEST_LIMIT)
    assert fitted.mail.html is None
    assert fitted.mail.text is not None
    first, gap, last = fitted.mail.text.partition("\n[… ")
    assert first.startswith("INFO: line 0 of")
    assert first.endswith("much\n")
    assert last.rstrip("\n").endswith("INFO: line 199999 of a backup job that says & < > much")
    assert int(last.split(" ", 1)[0]) + first.count("\n") + last.count("much\n") == 200_000
    assert gap
    (whole,) = fitted.mail.attachments
    assert gzip.decompress(whole.content).decode() == (mail.html if html else LOG)
    assert whole.name in fitted.notes[0]
    assert len(sent(fitted.mail, fitted.notes)) < BODY_LIMIT + len(whole.content) * 2


def test_an_html_body_without_text_is_shown_as_text() -> None:
    """Tags gone, entities read."""
    rows = "".join(f"<tr><td>row {number}</td><td>a &amp; b</td></tr>" for number in range(120_000))
    fitted = fit(Mail(html=f"<html><body><table>{rows}</table></body></html>"), REQUEST_LIMIT)
    assert fitted.mail.text is not None
    assert fitted.mail.text.startswith("row 0a & b\nrow 1a & b\n")


def test_what_does_not_compress_is_left_out_the_largest_first() -> None:
    """And named, with its size; what fits without it stays."""
    big, small = Attachment("dump.bin", "application/octet-stream", NOISE), Attachment("small.bin", "x/y", NOISE[:1_000_000])
    fitted = fit(Mail(text="x", attachments=(big, small)), REQUEST_LIMIT)
    assert fitted.mail.attachments == (small,)
    assert fitted.notes == ("Left out: dump.bin (6.0 MB).",)


def test_a_text_of_quotes_grows_sixfold_and_still_fits() -> None:
    """Escaping in HTML and JSON is counted."""
    fitted = fit(Mail(text="'\"<>&\x01" * 1_000_000), REQUEST_LIMIT)
    assert len(sent(fitted.mail, fitted.notes)) <= REQUEST_LIMIT


def test_a_line_without_end_is_cut_too() -> None:
    """No line end to cut at."""
    fitted = fit(Mail(text="x" * 9_000_000), REQUEST_LIMIT)
    assert len(sent(fitted.mail, fitted.notes)) <= REQUEST_LIMIT


@settings(max_examples=25)
@given(
    st.integers(0, 3_000_000), st.integers(0, 5_000_000), st.lists(st.tuples(st.sampled_from(["a.log", "b.bin"]), st.integers(0, 5_000_000)), max_size=5),
    st.sampled_from(["", "s" * 200_000]), st.sampled_from([1, 500]),
)  # fmt: skip
def test_every_mail_fits(text: int, html: int, files: list[tuple[str, int]], subject: str, people: int) -> None:
    """Whatever it is made of; and what the note does not name is there."""
    attachments = tuple(
        Attachment(f"{n}-{name}", "application/octet-stream", NOISE[:size]) for n, (name, size) in enumerate(files)
    )
    mail = Mail(subject=subject, text=LOG[:text] or None, html=LOG[:html] or None, attachments=attachments)
    fitted = fit(mail, REQUEST_LIMIT, people)
    assert len(sent(fitted.mail, fitted.notes, people)) <= REQUEST_LIMIT
    said = " ".join(fitted.notes)
    for attachment in attachments:
        assert attachment in fitted.mail.attachments or attachment.name in said
    assert bool(fitted.notes) == (fitted.mail is not mail)
    assert request_size(fitted.mail) <= request_size(mail)


def test_the_beginning_of_what_is_larger_than_any_mailbox() -> None:
    """It says how large it was."""
    fitted = beginning(Mail(text="begin\n" + LOG), 300_000_000)
    assert fitted.notes == ("Of this mail of 300.0 MB only the beginning is shown.",)
    assert fitted.mail.attachments == ()
    assert fitted.mail.text is not None
    assert fitted.mail.text.startswith("begin\n")


def test_the_same_mail_makes_the_same_request_whenever_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compressed has no time in it (RFC 1952 2.3.1, MTIME)."""
    log = Attachment("backup.log", "text/plain", b"line\n" * 1_000_000)
    made = []
    for now in (1e9, 2e9):
        monkeypatch.setattr("time.time", lambda now=now: now)
        made.append(fit(Mail(text="x", attachments=(log,)), 1_000_000).mail.attachments[0].content)
    assert made[0] == made[1]
    assert made[0][4:8] == bytes(4)
