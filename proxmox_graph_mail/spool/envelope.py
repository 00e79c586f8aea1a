"""The envelope: what travels with a message besides its bytes, and how the spool's first line holds it.

One line of JSON before the message, never a format of lines: a new-line in an address once forged spool headers
in exim (CVE-2020-28015). No control character is let into any field in the first place.
"""

from _json import encode_basestring_ascii as _quote  # json imports re, a third of what `sendmail` may cost

from proxmox_graph_mail.errors import DataError
from proxmox_graph_mail.light_os import urandom

VERSION = 1
TEST = "test"
LINE_LIMIT = 2 << 20  # bytes of the first line at most: room for some 30,000 recipients


class Envelope:
    """Sender, recipients and circumstances of one message; immutable by habit.

    `arrived` is in seconds since the epoch, `uid` the submitting user's as the kernel told it. `sender` is the
    envelope sender (empty: the null sender). `full_name` is `-F`'s, for a message without From. `notify` is `-N`'s
    (RFC 3461): with `never` no report about this message is made. `nonce` are 64 bits that nobody else knows: a Message-ID of
    ours holds them, so that no other mail can bear it. `protocol` is `smtp`, TEST (somebody waits for the outcome), or empty:
    sendmail's command line. `body` is `-B`'s
    argument, as Proxmox gives it. `members` are the queue IDs of the messages that a digest stands for; empty for any other.
    """

    __slots__ = ("arrived", "body", "full_name", "members", "nonce", "notify", "protocol", "recipients", "sender", "uid")

    def __init__(
        self, *, sender: str, recipients: tuple[str, ...], uid: int, arrived: float, full_name: str = "", notify: str = "",
        nonce: str = "", protocol: str = "", body: str = "", members: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.sender = without_controls("envelope's sender", sender)
        self.recipients = tuple([without_controls("envelope's recipient", recipient) for recipient in recipients])
        self.uid = uid
        self.arrived = arrived
        self.full_name = without_controls("envelope's full name", full_name)
        self.notify = without_controls("argument of -N", notify)
        self.nonce = nonce
        self.protocol = protocol
        self.body = without_controls("argument of -B", body)
        self.members = members

    def encode(self) -> bytes:
        """The spool's first line, with its line end; with a new nonce, if it has none yet."""
        nonce = self.nonce or urandom(8).hex()
        recipients = ",".join([_quote(recipient) for recipient in self.recipients])
        members = ',"members":[' + ",".join([_quote(member) for member in self.members]) + "]" if self.members else ""
        line = (
            f'{{"version":{VERSION},"arrived":{self.arrived:.6f},"uid":{self.uid},"sender":{_quote(self.sender)},'
            f'"recipients":[{recipients}],"full_name":{_quote(self.full_name)},"notify":{_quote(self.notify)},'
            f'"nonce":{_quote(nonce)},"protocol":{_quote(self.protocol)},"body":{_quote(self.body)}{members}}}\n'
        ).encode("ascii")
        if len(line) > LINE_LIMIT:
            raise DataError(f"the envelope's {len(self.recipients)} recipients take more than {LINE_LIMIT} bytes: too many")
        return line


UID_WITHIN = 100  # bytes of the first line that hold the uid: it stands before anything that a user chose


def uid_of(beginning: bytes) -> int:
    """The uid in the first UID_WITHIN bytes of a spool file, without reading the rest; -1 if there is none."""
    digits = beginning.partition(b'"uid":')[2].partition(b",")[0]
    return int(digits) if digits.isdigit() else -1


def decode(line: bytes) -> Envelope:
    """The envelope of a spool file's first line.

    Raises DataError if this is no such line, or of a version this program does not know.
    """
    import json  # not for the fast path

    try:
        fields = json.loads(line)
        if fields["version"] != VERSION:
            raise DataError(f"envelope of version {fields['version']}; this program knows version {VERSION}")
        return Envelope(
            sender=_text(fields["sender"]),
            recipients=tuple([_text(recipient) for recipient in fields["recipients"]]),
            uid=int(fields["uid"]),
            arrived=_time(fields["arrived"]),
            full_name=_text(fields["full_name"]),
            notify=_text(fields["notify"]),
            nonce=_text(fields.get("nonce", "")),
            protocol=_text(fields.get("protocol", "")),
            body=_text(fields.get("body", "")),
            members=tuple([_text(member) for member in fields.get("members", ())]),
        )
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise DataError("the first line is not an envelope") from error


def without_controls(field: str, text: str, *, allowed: str = "") -> str:
    """`text`, if it has no control character but the `allowed` ones. Raises DataError.

    C0, DEL and C1 (U+0080 to U+009F): U+0085 ends a line for many programs, U+009B begins a terminal's escape sequence.
    """
    if not text.isprintable():
        for c in text:
            if (c < " " or "\x7f" <= c <= "\x9f") and c not in allowed:
                raise DataError(f"control character {ord(c):#04x} in the {field}: not accepted")
    return text


def _time(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise ValueError("no time")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
