"""What comes of a mail: five outcomes, and nothing in between.

    sent        202, and nothing else
    transient   certainly not sent; the same request may be made again
    uncertain   it may have been sent; never again at once, always with the same Message-ID
    held        the tenant refuses us: the mail is innocent, is kept and tried slowly until the admin acts
    failed      Graph refuses this very message

codes.py says which answer is which; only the mailbox (mailbox.py, draft.py) makes one.
"""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The five outcomes."""

    SENT = "sent"
    TRANSIENT = "transient"
    UNCERTAIN = "uncertain"
    HELD = "held"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt.

    `reason` is a sentence for the log and the queue list. `shared` says that every other message would meet the same.
    `retry_after` is in seconds, 0 where the other side named none. `second_chance`: a failure that is tried once more.
    """

    status: Status
    reason: str = ""
    code: str = ""
    retry_after: float = 0.0
    shared: bool = False
    second_chance: bool = False
    request_id: str = ""


NOT_GRAPH = "NotGraph"
"""The code of an outcome that did not come from Graph: a filter on the way may refuse this one mail, or every one."""
REQUEST_TOO_LARGE = "RequestTooLarge"
"""The code of an outcome that says that a request was too large, for Graph or for what stands before it: smaller it may pass."""
NOT_WHOLE = "NotWhole"
"""The code of an outcome that says why a message cannot be sent whole, and what would help: it may be sent smaller."""
