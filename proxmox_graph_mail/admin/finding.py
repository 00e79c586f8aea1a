"""One line of `check`."""

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, its state (ok, warn, fail), what was found, and what to do."""

    name: str
    state: str
    text: str
    remedy: str = ""
