"""Mail: what a message says, taken apart; immutable."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name (decoded, may be empty) and an address, as a header or the envelope has it."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not the body. `content_id` has no angle brackets; `inline` means the HTML body shows it."""

    name: str
    content_type: str
    content: bytes
    inline: bool = False
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """One parsed message.

    `text` and `html` are the bodies, None where there is none; `prepended` and `appended` are texts that stand above and below an
    HTML body and are not said in it (an introduction, a footer). `sealed`: signed or encrypted, so that its meaning is in
    its bytes. `date` is None where the header has none or no date. `headers` are all fields in order, names as written, values
    unfolded and decoded. `defects` says in one sentence each what the parser had to repair.
    """

    subject: str = ""
    sender: Mailbox | None = None
    reply_to: tuple[Mailbox, ...] = ()
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    date: datetime | None = None
    message_id: str = ""
    in_reply_to: str = ""
    references: str = ""
    importance: str = "normal"
    text: str | None = None
    html: str | None = None
    prepended: tuple[str, ...] = ()
    appended: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    sealed: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    defects: tuple[str, ...] = field(default=(), compare=False)
