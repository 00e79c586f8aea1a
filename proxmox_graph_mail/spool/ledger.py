"""The ledger: to how many recipients mail went in the last 24 hours, whose it was, and why mail waits for the mailbox's pace.

    SPOOL/ledger    lines of words, 0640, replaced as a whole by the queue runner
        HOUR UID RECIPIENTS        sent in that hour (since 1970) of that user's mail
        waits LANE UNTIL REASON…   why mail of this lane waits, and until when (seconds since 1970; 0: a moment)
        waited TIME                when the mailbox's pace last kept mail waiting
        alike NUMBER TIME TIME…    when mail that is alike was submitted lately (delivery/fold.py)
        limit RECIPIENTS           what the settings say that the mailbox may have in 24 hours (0: any number)
        pace TIME LEVEL LEVEL LEVEL   the token buckets as they were (delivery/pace.py)

The hours are whole ones: of the last 24 and the present one. Read by the receiver too, so: no JSON, nothing to import.
"""

from proxmox_graph_mail import log
from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.files import read_beginning, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HOUR, DAY = 3600, 24  # seconds; hours
ALIKE = 500  # kinds of mail that came more than once within the hour, at most
FRESH = 900.0  # seconds for which it is believed that mail waits; while it does, it is written every five minutes
LIMIT = 4 << 20  # bytes of the file that are read


class Ledger:
    """What the file says; the queue runner alone changes and writes it."""

    def __init__(self, root: str) -> None:
        self._path = f"{root}/ledger"
        self.hours: dict[tuple[int, int], int] = {}
        """(hour, uid) → recipients."""
        self.waits: dict[int, tuple[float, str]] = {}
        """Number of a lane → until when, and why."""
        self.waited = 0.0
        self.limit = 0
        self.pace: tuple[float, ...] = ()
        self.alike: dict[int, list[float]] = {}
        self.gathered = False
        """Is there more of what is alike than was written?"""
        self._totals: dict[tuple[int, int | None], int] = {}
        self._read()

    def add(self, uid: int, recipients: int, now: float) -> None:
        """So many more have a mail of this user."""
        key = int(now) // HOUR, uid
        self.hours[key] = self.hours.get(key, 0) + recipients
        self._totals.clear()

    def total(self, now: float, uid: int | None = None) -> int:
        """Recipients of the last 24 hours: all, or of this user's mail."""
        last = int(now) // HOUR
        if (last, uid) not in self._totals:  # asked for each message, and changed by few
            counts = [count for (hour, whose), count in self.hours.items() if last - DAY < hour <= last and uid in (None, whose)]
            self._totals[last, uid] = sum(counts)
        return self._totals[last, uid]

    def by_user(self, now: float) -> "list[tuple[int, int]]":
        """Who sent to how many, most first."""
        last, sums = int(now) // HOUR, dict[int, int]()
        for (hour, uid), count in self.hours.items():
            if last - DAY < hour <= last:
                sums[uid] = sums.get(uid, 0) + count
        return sorted(sums.items(), key=lambda one: -one[1])

    def below(self, limit: int, now: float) -> float:
        """When the total will be below `limit`, if nothing more is sent; `now` if it is."""
        last = int(now) // HOUR
        for begin in range(last - DAY + 1, last + 2):
            left = sum([count for (hour, _), count in self.hours.items() if begin <= hour <= last])
            if left < limit:
                return now if begin == last - DAY + 1 else float((begin - 1 + DAY) * HOUR)
        return float((last + DAY) * HOUR)

    def write(self, now: float) -> None:
        """Replace the file; what cannot be written is known for this run."""
        last = int(now) // HOUR
        self.hours = {key: count for key, count in self.hours.items() if last - DAY < key[0] <= last}
        lines = [f"{hour} {uid} {count}\n" for (hour, uid), count in self.hours.items()]
        lines += [f"waits {lane} {until:.0f} {reason}\n" for lane, (until, reason) in self.waits.items()]
        lines.append(f"waited {self.waited:.0f}\nlimit {self.limit}\n")
        often = [(number, times) for number, times in self.alike.items() if len(times) > 1 and times[-1] > now - HOUR]
        lines += [f"alike {number} {' '.join([f'{time:.3f}' for time in times])}\n" for number, times in often[-ALIKE:]]
        if self.pace:
            lines.append(f"pace {' '.join([f'{number:.3f}' for number in self.pace])}\n")
        try:
            replace(self._path, "".join(lines).encode("utf-8", "replace"), mode=0o640)
        except OSError as error:
            log.line(f"cannot write {self._path}: {error.strerror}; the mailbox's daily count may be low", log.WARNING)

    def reason(self, lane: int, now: float) -> "tuple[float, str] | None":
        """Until when mail of a lane waits, and why."""
        until, reason = self.waits.get(lane, (0.0, ""))
        counts = until > now if until else abs(now - self.waited) < FRESH  # else a runner that is dead wrote it
        return (until, reason) if reason and counts else None

    def _read(self) -> None:
        try:
            text = read_beginning(self._path, LIMIT)
        except (SpoolError, OSError):
            return
        for line in text.decode("utf-8", "replace").split("\n"):
            try:
                self._take(line.split(" "))
            except (ValueError, IndexError):
                continue  # torn, or of another version

    def _take(self, words: "list[str]") -> None:
        if words[0] == "waits":
            self.waits[int(words[1])] = float(words[2]), " ".join(words[3:])
        elif words[0] == "waited":
            self.waited = float(words[1])
        elif words[0] == "limit":
            self.limit = int(words[1])
        elif words[0] == "alike":
            self.alike[int(words[1])] = sorted(_numbers(words[2:]))
        elif words[0] == "pace":
            self.pace = _numbers(words[1:])
        elif len(words) == 3:
            self.hours[int(words[0]), int(words[1])] = int(words[2])


def _numbers(words: "Iterable[str]") -> "tuple[float, ...]":
    return tuple([float(word) for word in words])
