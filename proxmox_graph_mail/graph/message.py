"""Mail and recipients → the Graph message, the JSON that sendMail takes. Pure functions.

The rules are Graph's: `message` resource (v1.0 metadata), at most five headers, each beginning with x-; In-Reply-To
and References by extended property (MS-OXPROPS PidTagInReplyToId, PidTagInternetReferences).
"""

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from proxmox_graph_mail.graph import page
from proxmox_graph_mail.host import Host
from proxmox_graph_mail.log import FIRST_RIGHT, duration
from proxmox_graph_mail.message.mail import Attachment, Mail, Mailbox
from proxmox_graph_mail.message.recipients import Recipients, is_address

LARGE = "4 MB"
"""The most that a request may have (permissions.REQUEST_LIMIT), in words; what is in base64 meets it at 3 MB of its own."""
RECIPIENT_LIMIT = 500  # recipients of one message, Exchange Online's default
SUBJECT_LIMIT = 255  # characters of a subject (PidTagSubject)
HEADER_LIMIT = 5
LATE = 900.0  # seconds after which a mail says at its top that it is late

_HEADER_NAME = re.compile(r"[xX]-[!-9;-~]+")
_NOT_PASSED_ON = re.compile(
    r"x-(?:ms-exchange-|original-to$|original-date$|cron-env$|priority$|msmail-priority$|auto-response-suppress$|queue-id$|submitted-by$)",
    re.IGNORECASE,
)
_MESSAGE_ID = re.compile(r"<[^<>\s@]+@[^<>\s@]+>")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the message itself does not say: the queue ID, when (seconds since the epoch) and by whom it was submitted,
    what time it is, and on which host. `footer` is a line of ours under the mail; by `nonce` nobody else can know a Message-ID of
    ours."""

    queue_id: str
    arrived: float
    now: float
    host: Host
    sender: str
    user: str
    full_name: str = ""
    footer: str = ""
    nonce: str = ""


NAME_LIMIT = 256  # characters of a display name
_BLANK_LETTERS = dict.fromkeys(map(ord, "\u2800\u3164\u115f\u1160\uffa0\u180e\u200b\u2060\ufeff"))
"""Characters that are no blanks, and show nothing."""


def graph_message(
    mail: Mail, recipients: Recipients, circumstances: Circumstances, *, headers: bool = True, notes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The `message` of sendMail. Without `headers`, for a cloud whose message has no internetMessageHeaders. `notes` are said
    at the top."""
    inline, attachments = sorted_attachments(mail)
    message: dict[str, Any] = {
        "subject": _subject(mail.subject),
        "body": {"contentType": "html", "content": _body(mail, circumstances, notes)},
        "from": {"emailAddress": {"address": circumstances.sender, "name": display_name(mail.sender, circumstances)}},
        "internetMessageId": message_id(mail, circumstances),
    }
    for key, people in (
        ("toRecipients", recipients.to), ("ccRecipients", recipients.cc), ("bccRecipients", recipients.bcc),
        ("replyTo", reply_to(mail, circumstances.host)),
    ):  # fmt: skip
        if people:
            message[key] = [_recipient(mailbox) for mailbox in people]
    if mail.importance != "normal":
        message["importance"] = mail.importance
    if headers:
        message["internetMessageHeaders"] = _headers(mail, circumstances)
    properties = [("String 0x1042", mail.in_reply_to), ("String 0x1039", mail.references)]
    if values := [{"id": tag, "value": value} for tag, value in properties if value]:
        message["singleValueExtendedProperties"] = values
    if files := [*(file_attachment(a, inline=True) for a in inline), *(file_attachment(a, inline=False) for a in attachments)]:
        message["attachments"] = files
    return message


def request_body(message: dict[str, Any], *, save_to_sent_items: bool) -> bytes:
    """The request of sendMail as bytes."""
    return encoded({"message": message, "saveToSentItems": save_to_sent_items})


def encoded(content: dict[str, Any]) -> bytes:
    """A request's JSON."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def message_id(mail: Mail, circumstances: Circumstances) -> str:
    """The original Message-ID, or one made of queue ID, nonce and host: the same on every attempt."""
    if _MESSAGE_ID.fullmatch(mail.message_id) and mail.message_id.isascii():
        return mail.message_id
    ours = f"{circumstances.queue_id}.{circumstances.nonce}" if circumstances.nonce else circumstances.queue_id
    return f"<{ours}@{re.sub(r'[^A-Za-z0-9.-]', '-', circumstances.host.fqdn)}>"


def display_name(sender: Mailbox | None, circumstances: Circumstances) -> str:
    """The name that tells host and origin: `root@pve1 (Cron Daemon)`, in a cluster `root@pve1 (Cron Daemon, prod)`; of a real
    address: `ops@example.com via pve1`. Whoever submitted it under another name than his own, and is not root, is named too:
    `root@pve1 (Cron Daemon) by alice`."""
    if sender is None:
        sender = Mailbox(circumstances.full_name, circumstances.user)
    if not sender.address or any(c.isspace() for c in sender.address):
        sender = Mailbox(sender.name or sender.address, circumstances.user)
    user = circumstances.user
    local, _, domain = sender.address.rpartition("@") if "@" in sender.address else (sender.address, "", "")
    if domain and not circumstances.host.is_local(domain):
        cluster = f" ({circumstances.host.cluster})" if circumstances.host.cluster else ""
        return _name(sender.name or sender.address, f" via {circumstances.host.name}{cluster}{_by(user, '')}")
    name = sender.name if sender.name.lower() != local.lower() else ""
    more = ", ".join(word for word in (name, circumstances.host.cluster) if word)
    host = circumstances.host.name
    return _name(f"{local or user}@{host}{f' ({more})' if more else ''}", _by(user, local or user))


def _by(user: str, shown: str) -> str:
    """…` by alice`, for a user who is neither root nor the one that is shown."""
    return "" if user in ("root", shown) else f" by {user}"


def _subject(subject: str) -> str:
    clean = page.visible(subject).replace("\n", " ").replace("\t", " ").strip()
    return clean if len(clean) <= SUBJECT_LIMIT else f"{clean[: SUBJECT_LIMIT - 1]}…"


def _body(mail: Mail, circumstances: Circumstances, notes: tuple[str, ...]) -> str:
    if mail.html is not None:
        content = page.with_texts(page.legal(mail.html), mail.prepended, mail.appended)
    else:
        content = page.text_page(mail.text or "")
    if circumstances.footer:
        content = page.append(content, page.note(circumstances.footer))
    if len(mail.subject) > SUBJECT_LIMIT:
        content = page.prepend(content, page.note(f"Subject: {mail.subject}"))
    if notes:
        content = page.prepend(content, page.note("\n".join(notes)))
    late = circumstances.now - circumstances.arrived
    if late > LATE and circumstances.arrived >= FIRST_RIGHT:
        submitted = datetime.fromtimestamp(circumstances.arrived).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
        content = page.prepend(
            content, page.note(f"Delayed: submitted on {circumstances.host.name} at {submitted}, sent {duration(late)} later.")
        )
    return content


def reply_to(mail: Mail, host: Host) -> tuple[Mailbox, ...]:
    """Reply-To, else From, where it is an address that somebody elsewhere can answer to."""
    for people in (mail.reply_to, (mail.sender,) if mail.sender else ()):
        real = tuple(m for m in people if is_address(m.address) and not host.is_local(m.address.rpartition("@")[2]))
        if real:
            return real
    return ()


def _headers(mail: Mail, circumstances: Circumstances) -> list[dict[str, str]]:
    date = mail.date or datetime.fromtimestamp(circumstances.arrived, UTC).astimezone()
    headers = [
        # Not `All`, which would suppress non-delivery reports too (MS-OXCMAIL 2.1.3.2.20).
        ("X-Auto-Response-Suppress", "DR, RN, NRN, OOF, AutoReply"),
        ("X-Original-Date", format_datetime(date)),
        ("X-Queue-ID", f"{circumstances.queue_id}@{circumstances.host.name}"),
    ]
    if circumstances.user != "root":
        headers.append(("X-Submitted-By", f"{circumstances.user}@{circumstances.host.name}"))
    for name, value in mail.headers:
        if len(headers) == HEADER_LIMIT:
            break
        # Long values are of no use to a reader, and Exchange's limit for them is not documented.
        if _HEADER_NAME.fullmatch(name) and not _NOT_PASSED_ON.match(name) and len(name) + len(value) <= 900:
            headers.append((name, value))
    return [{"name": name, "value": page.visible(value)} for name, value in headers]


def sorted_attachments(mail: Mail) -> tuple[list[Attachment], list[Attachment]]:
    """Inline ones that an HTML body shows, and the others. A Content-ID that occurs twice counts once."""
    inline, others, seen = [], [], set()
    for attachment in mail.attachments:
        # A page that shows it by its Content-ID says more than a Content-Disposition that calls it an attachment (Python's
        # add_related does, with a file name).
        shown = attachment.inline or bool(attachment.content_id and f"cid:{attachment.content_id}" in (mail.html or ""))
        if shown and mail.html is not None and attachment.content_id not in seen:
            seen.add(attachment.content_id)
            inline.append(attachment)
        else:
            others.append(attachment)
    return inline, others


def file_attachment(attachment: Attachment, *, inline: bool) -> dict[str, Any]:
    """An attachment as Graph's fileAttachment."""
    file: dict[str, Any] = {
        "@odata.type": "#microsoft.graph.fileAttachment",
        "name": page.visible(attachment.name) or "attachment",
        "contentType": attachment.content_type,
        "contentBytes": base64.b64encode(attachment.content).decode("ascii"),
    }
    if inline:
        file |= {"isInline": True, "contentId": page.visible(attachment.content_id)}
    return file


def _recipient(mailbox: Mailbox) -> dict[str, Any]:
    address = {"address": mailbox.address}
    if name := _name(mailbox.name):
        address["name"] = name
    return {"emailAddress": address}


def _name(name: str, suffix: str = "") -> str:
    """A display name of at most NAME_LIMIT characters. What says whose mail it is, the suffix, is neither cut off nor pushed out
    of sight by letters that look like blanks."""
    clean = " ".join(page.visible(name).translate(_BLANK_LETTERS).split())
    suffix = page.visible(suffix)
    return clean[: NAME_LIMIT - len(suffix)] + suffix
