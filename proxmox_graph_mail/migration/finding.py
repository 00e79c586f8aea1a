"""One thing on this host that has to do with how mail leaves it."""

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of it."""

    STOPS = "stops"
    """Microsoft refuses it once basic SMTP AUTH is off (Exchange team, 27 January 2026: by default at the end of 2026)."""
    LEFTOVER = "leftover"
    """Of a mail system that is not installed any more."""
    UNKNOWN = "unknown"
    """It goes by a program whose settings this one does not know."""
    WORKS = "works"
    """It calls sendmail, and so goes through Microsoft Graph."""


@dataclass(frozen=True, slots=True)
class Found:
    """`where` is a file, or a target of Proxmox's; `what` it says, `means` what that is worth; `command` what moves it, if
    anything must. `target` is the name of a Proxmox target that `migrate --apply` can move."""

    fate: Fate
    where: str
    what: str
    means: str
    command: str = ""
    target: str = ""
