"""One mail for many that are alike: when each came and what differed, the last one in full, and all of them attached.

It is begun as a message of its own, which names its members (spool/digests.py), and made anew at each attempt of those that are
still there: the same members give the same mail, and what an admin removed meanwhile is left out.
"""

import io
import os
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxmox_graph_mail.errors import ConfinedError
from proxmox_graph_mail.message.confined import taken_apart
from proxmox_graph_mail.message.mail import Attachment, Mail
from proxmox_graph_mail.rfc822.header import fields
from proxmox_graph_mail.spool import digests
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.spool.store import KEPT_AGE, Spool, arrival

LARGEST = 2 << 20  # bytes of a member that is read for the digest; what is larger is kept beside it
READ, PARSED = 64 << 20, 2 << 20  # bytes of all members together that are read, and taken apart to tell what differs
ROOM = 2_400_000  # bytes of the attached archive: with the last mail it fits into one request to Graph (4 MB, in base64)
LINES = 20_000  # lines of all members together that are compared
SHOWN = 100  # characters of what differed
HEADER = 64 << 10  # bytes of the last member that are read for its subject


@dataclass(frozen=True, slots=True)
class Digest:
    """The mail, and the members that are not attached, so that their files are kept."""

    mail: Mail
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One of them: when it was submitted, and its first lines."""

    queue_id: str
    lines: tuple[str, ...]


def begin(spool: Spool, queue_ids: Sequence[str], now: float) -> str:
    """Make a digest of these messages, oldest first; its queue ID. Raises SpoolError, DataError, OSError."""
    ordered = tuple(sorted(queue_ids))
    with open(spool.open(ordered[-1]), "rb") as file:
        last = decode(file.readline(LINE_LIMIT))
        subject = next((value for name, value in fields(file.read(HEADER)) if name.lower() == b"subject"), b"")
    envelope = Envelope(
        sender=last.sender, recipients=last.recipients, uid=last.uid, arrived=now, full_name=last.full_name, notify=last.notify,
        protocol=last.protocol, body=last.body, members=ordered,
    )  # fmt: skip
    return digests.make(spool, envelope, b"Subject: [%d more] %s\n\n" % (len(ordered), subject))


def compose(spool: Spool, envelope: Envelope, host: str) -> Digest | None:
    """The mail of a digest's members; None if none of them is there any more. It costs a bounded time, whatever they are. Raises
    SpoolError, ConfinedError, OSError."""
    there = [queue_id for queue_id in envelope.members if spool.due(queue_id) is not None]  # an admin may have removed some
    members: list[Member] = []
    left_out: list[str] = []
    last: Mail | None = None
    archive = io.BytesIO()
    read = parsed = 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for queue_id in there:
            is_last = queue_id == there[-1]
            size, data = _read(spool, queue_id, LARGEST if read < READ or is_last else 0)
            read += len(data)
            lines: tuple[str, ...] = ()
            if is_last or parsed + len(data) <= PARSED:
                parsed += len(data)
                try:
                    last = taken_apart(data)
                    lines = (last.subject, *(last.text or "").split("\n"))[: max(LINES // len(there), 20)]
                except ConfinedError:
                    if is_last:  # without which there is nothing to show
                        raise
            members.append(Member(queue_id, lines))
            if len(data) < size or not _packed(packed, archive, queue_id, data):
                left_out.append(queue_id)
    if last is None:
        return None
    introduction = told(members, left_out, host)
    attached = Attachment(name="mails.zip", content_type="application/zip", content=archive.getvalue())
    mail = replace(
        last, subject=f"[{len(members)} more] {last.subject}", date=None, message_id="", in_reply_to="", references="",
        sealed=False,
        headers=(("X-Digest", f"{len(members)} mails, gathered by proxmox-graph-mail"), *last.headers),
        text=last.text if last.html is not None else f"{introduction}\f{last.text or ''}",
        prepended=(introduction, *last.prepended) if last.html is not None else (),
        attachments=(*last.attachments, attached) if len(left_out) < len(members) else last.attachments,
    )  # fmt: skip
    return Digest(mail, tuple(left_out))


def told(members: Sequence[Member], left_out: Sequence[str], host: str) -> str:
    """The introduction: how many, and of each the time and what differed."""
    count = len(members)
    where = "" if len(left_out) == count else "; all of them are attached" if not left_out else "; the others are attached"
    head = [f"{count} more mails like those before were sent on {host}. The last one is below{where}."]
    if left_out:
        head.append(
            f"{len(left_out)} of them are too large to be attached. They are kept on {host} for {KEPT_AGE // 86400} days: "
            f"proxmox-graph-mail queue save {left_out[0]} FILE{' (and so on; log names them)' if len(left_out) > 1 else ''}"
        )
    rows = []
    compared = [set(member.lines) for member in members if member.lines]
    common = compared[0].intersection(*compared[1:]) if compared else set()
    for member in members:
        differs = next((line.strip() for line in member.lines if line.strip() and line not in common), "")
        when = time.strftime("%Y-%m-%d  %H:%M:%S", time.localtime(arrival(member.queue_id)))
        rows.append(f"{when}  {differs[:SHOWN]}".rstrip())
    return "\n".join((*head, "", *rows, ""))


def _read(spool: Spool, queue_id: str, limit: int) -> tuple[int, bytes]:
    """A member's size, and its bytes as far as `limit`. Raises OSError, SpoolError."""
    with open(spool.open(queue_id), "rb") as file:
        line = file.readline(LINE_LIMIT)
        return os.fstat(file.fileno()).st_size - len(line), file.read(limit)


def _packed(packed: zipfile.ZipFile, archive: io.BytesIO, queue_id: str, data: bytes) -> bool:
    """Into the archive, if there is room for it."""
    if archive.tell() + len(zlib.compress(data)) > ROOM:
        return False
    when = time.localtime(arrival(queue_id))[:6]
    name = f"{time.strftime('%Y-%m-%d %H.%M.%S', (*when, 0, 0, -1))} {queue_id}.eml"
    info = zipfile.ZipInfo(name, max(when, (1980, 1, 1, 0, 0, 0)))
    info.compress_type = zipfile.ZIP_DEFLATED
    packed.writestr(info, data)
    return True
