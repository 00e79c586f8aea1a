"""When mail that is alike is gathered (DIGEST)."""

from dataclasses import dataclass

QUIET = 120.0  # seconds without another one after which what was gathered goes
NOTIFICATIONS = 30  # of Proxmox's own within the time go each as it is, whatever the setting says
MEMBERS = 1000  # messages of one digest at most


@dataclass(frozen=True, slots=True)
class DigestRule:
    """The first `number` within `within` seconds go each as it is; further ones every `every` seconds as one mail."""

    number: int = 5
    within: float = 3600.0
    every: float = 900.0
