"""Why the queue as a whole waits: written down once, not once for each message that waits with it.

    SPOOL/suspended   a JSON object, 0640: the present suspension, if there is one, and what is left of earlier ones

The queue runner alone writes it (delivery/suspension.py); the queue's listing, and whoever waits for a message's outcome, read
it. Advisory: a file that is lost or damaged costs a reason.
"""

import json
from typing import NamedTuple

from proxmox_graph_mail import files
from proxmox_graph_mail.spool.incoming import translated
from proxmox_graph_mail.spool.store import Spool


class Suspended(NamedTuple):
    """`state` is held or deferred while nothing is tried for `reason`, noted at `time` and until `until`; empty when mail goes.
    `last_held`: when the queue was last held. `rounds`: the last times that a round of all messages met a refusal. Times are
    seconds since the epoch."""

    state: str = ""
    reason: str = ""
    code: str = ""
    time: float = 0.0
    until: float = 0.0
    last_held: float = 0.0
    rounds: tuple[float, ...] = ()

    def covers(self, due: float, now: float) -> bool:
        """Does it say why a message waits that is due since `due`?"""
        return bool(self.state) and due <= now


def read(spool: Spool) -> Suspended:
    """What is written there."""
    content = files.read_json(f"{spool.root}/suspended")
    fields = {name: content[name] for name in Suspended._fields if name in content}
    fields["rounds"] = tuple(fields["rounds"]) if isinstance(fields.get("rounds"), list) else ()
    found = Suspended(**fields)
    times = (found.time, found.until, found.last_held, *found.rounds)
    sound = all(isinstance(text, str) for text in found[:3]) and all(isinstance(time, int | float) for time in times)
    return found if sound else Suspended()


def write(spool: Spool, suspended: Suspended) -> None:
    """Replace it. Raises SpoolError."""
    path = f"{spool.root}/suspended"
    try:
        files.replace(path, json.dumps(suspended._asdict()).encode(), mode=0o640)
    except OSError as error:
        raise translated(error, path) from error
