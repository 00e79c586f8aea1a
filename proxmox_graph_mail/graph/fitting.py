"""A mail that is larger than a Graph request → one that fits, and a note that says what became of the rest.

For apps that may only send (Mail.Send), and for what no mailbox takes: the mail still arrives, smaller. In this order,
as far as it is needed: text-like attachments are compressed; a long body is cut in the middle and lies compressed
beside the mail; attachments are left out, the largest first. Pure functions; the original is the spool's to keep.
"""

import gzip
import html
import json
import re
from dataclasses import dataclass, replace

from proxmox_graph_mail.graph import page
from proxmox_graph_mail.message.mail import Attachment, Mail

BODY_LIMIT = 400_000  # bytes that a cut body takes at most in the request: some 5,000 lines of a log
BODY_LEAST = 10_000  # bytes that it may take however small the request must be
WORTHWHILE = 0.9  # A compressed attachment must be smaller than this part of the plain one
NAMED = 20  # attachments that the note names one by one

_TEXT_LIKE = re.compile(
    r"text/|message/|application/(?:json|xml|sql|x-sh|javascript|yaml|x-ndjson|.*\+xml|.*\+json)", re.IGNORECASE
)
_TEXT_NAMES = (
    ".log", ".txt", ".csv", ".json", ".xml", ".sql", ".conf", ".cfg", ".yaml", ".yml", ".md", ".html", ".eml", ".diff", ".patch",
)  # fmt: skip
_TAGS = re.compile(r"<[^<>]*>")
_BREAKS = re.compile(r"<(?:br|/p|/tr|/div|/h[1-6]|/li)\b[^<>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The smaller mail; `notes` are sentences for its reader, one for each thing that was changed (none: nothing was)."""

    mail: Mail
    notes: tuple[str, ...] = ()


def fits(mail: Mail, limit: int, recipients: int = 1) -> bool:
    """Does the mail's request take at most `limit` bytes?"""
    return request_size(mail) <= limit - _overhead(mail, recipients)


def fit_body(mail: Mail, limit: int, recipients: int = 1) -> Fitted:
    """The mail with a body that fits, whatever is attached: for a way that takes any attachment."""
    if _body_size(mail) <= limit - _overhead(mail, recipients):
        return Fitted(mail)
    smaller, notes = _cut(mail, limit - _overhead(mail, recipients))
    return Fitted(smaller, tuple(notes))


def fit(mail: Mail, limit: int, recipients: int = 1) -> Fitted:
    """Make the mail's request, to so many recipients, take at most `limit` bytes."""
    budget = limit - _overhead(mail, recipients)
    notes: list[str] = []
    for step in (_compress, _cut, _leave_out):
        if request_size(mail) <= budget:
            break
        mail, said = step(mail, budget)
        notes += said
    return Fitted(mail, tuple(notes))


def beginning(mail: Mail, size: int) -> Fitted:
    """A mail of whose `size` bytes only the beginning was read: the beginning of its text, without attachments."""
    cut, _ = _cut(mail, BODY_LIMIT)
    return Fitted(replace(cut, attachments=()), (f"Of this mail of {megabytes(size)} only the beginning is shown.",))


def _overhead(mail: Mail, recipients: int) -> int:
    """Bytes left for all that is neither body nor attachment: headers and notes, subject and thread, recipients with names."""
    return 60_000 + 4 * (len(mail.subject) + len(mail.references) + len(mail.in_reply_to)) + 1500 * recipients


def request_size(mail: Mail) -> int:
    """Bytes that body and attachments take in a request, as near as matters."""
    return _body_size(mail) + sum(_attachment_size(attachment) for attachment in mail.attachments)


def megabytes(size: int) -> str:
    """`7.3 MB`, `120 kB`."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size // 1000, 1)} kB"


def _body_size(mail: Mail) -> int:
    if mail.html is None:
        return _shown_size(mail.text or "")
    return _encoded_size(page.with_texts(mail.html, mail.prepended, mail.appended))


def _shown_size(text: str) -> int:
    return _encoded_size(page.block(text))


def _encoded_size(content: str) -> int:
    return len(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))


def _attachment_size(attachment: Attachment) -> int:
    return len(attachment.content) * 4 // 3 + len(attachment.name) + 300


def _by_size(mail: Mail) -> list[Attachment]:
    return sorted(mail.attachments, key=lambda attachment: -len(attachment.content))


def _compress(mail: Mail, budget: int) -> tuple[Mail, list[str]]:
    size = request_size(mail)
    smaller: dict[int, Attachment] = {}
    for attachment in _by_size(mail):
        if size <= budget or not _is_text(attachment):
            continue
        packed = _packed(attachment.name, attachment.content)
        if len(packed.content) < len(attachment.content) * WORTHWHILE:
            smaller[id(attachment)] = packed
            size -= _attachment_size(attachment) - _attachment_size(packed)
    changed = [attachment for attachment in mail.attachments if id(attachment) in smaller]
    attachments = tuple(smaller.get(id(attachment), attachment) for attachment in mail.attachments)
    return replace(mail, attachments=attachments), [f"Compressed: {_listed(changed)}."] if changed else []


def _cut(mail: Mail, budget: int) -> tuple[Mail, list[str]]:
    size, most = _body_size(mail), max(BODY_LEAST, min(BODY_LIMIT, budget))
    if size <= most:
        return mail, []
    if mail.html is not None:
        whole = _packed("message.html", mail.html.encode("utf-8", "replace"))
        text = mail.text if mail.text and mail.text.strip() else _plain(mail.html)
    else:
        text = mail.text or ""
        whole = _packed("message.txt", text.encode("utf-8", "replace"))
    text = "\n".join((*mail.prepended, text, *mail.appended))
    shown = _middle_cut(text, most)
    smaller = replace(mail, html=None, text=shown, prepended=(), appended=(), attachments=(whole, *mail.attachments))
    return smaller, [f"The text is cut in the middle; all of it ({megabytes(size)}) is in {whole.name}."]


def _middle_cut(text: str, most: int) -> str:
    """Beginning and end of a text, whole lines where there are lines, of `most` bytes in the request at most."""
    room = len(text)
    while True:
        head, tail = text[: room // 2], text[len(text) - room // 2 :]
        if "\n" in head[-2000:]:
            head = head[: head.rindex("\n") + 1]
        if "\n" in tail[:2000]:
            tail = tail[tail.index("\n") + 1 :]
        left_out = text.count("\n", len(head), len(text) - len(tail))
        shown = f"{head}\n[… {left_out} lines are left out here …]\n\n{tail}"
        size = _shown_size(shown)
        if size <= most:
            return shown
        room = min(room - 1, room * most // size)  # escaping grows some texts sixfold: again, by what it came to


def _leave_out(mail: Mail, budget: int) -> tuple[Mail, list[str]]:
    size = request_size(mail)
    out: set[int] = set()
    for attachment in _by_size(mail):
        if size > budget:
            out.add(id(attachment))
            size -= _attachment_size(attachment)
    left_out = [attachment for attachment in mail.attachments if id(attachment) in out]
    kept = tuple(attachment for attachment in mail.attachments if id(attachment) not in out)
    return replace(mail, attachments=kept), [f"Left out: {_listed(left_out)}."] if left_out else []


def _listed(attachments: list[Attachment]) -> str:
    named = [f"{page.visible(a.name)} ({megabytes(len(a.content))})" for a in attachments[:NAMED]]
    more = len(attachments) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _is_text(attachment: Attachment) -> bool:
    return bool(_TEXT_LIKE.match(attachment.content_type)) or attachment.name.lower().endswith(_TEXT_NAMES)


def _packed(name: str, content: bytes) -> Attachment:
    # mtime=0: the same mail makes the same request on every attempt.
    return Attachment(name=f"{name}.gz", content_type="application/gzip", content=gzip.compress(content, 6, mtime=0))


def _plain(markup: str) -> str:
    """The text of a page, for want of a plain-text version: good enough to see what the mail is about."""
    return html.unescape(_TAGS.sub("", _BREAKS.sub("\n", markup)))
