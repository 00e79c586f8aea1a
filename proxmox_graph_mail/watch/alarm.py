"""What is said of the troubles that the watch sees: a line of priority crit in the journal, the login message, the admin's
command and a failed unit; each once for one cause, and an all-clear when it is over.

    WATCH/state.json   what was seen, since when, and what was said (0640)
    WATCH/motd         the login message while the alarm lasts
    WATCH/alarm        what ALARM_COMMAND is told; `proxmox-graph-mail-alarm.service` reads it as the service user

WATCH is /run/proxmox-graph-mail-watch: it takes a write when no disk does, and a boot begins anew.
"""

import json
import os

from proxmox_graph_mail import files, log, paths
from proxmox_graph_mail.log import CRIT, duration, printable

CONFIRMED = 1 / 18
"""Part of the patience (50 seconds) for which a trouble must have lasted, or have been over: it is seen twice. (An upgrade stops
units for a moment; a unit that keeps restarting runs for a moment.)"""
STUCK, RUNNER_S_OWN = "stuck", "runner"
"""Keys of troubles: something is due and nothing is settled; the alarm that the queue runner gave itself."""
UNIT = "proxmox-graph-mail-alarm.service"
PATIENCE = 10.0  # seconds to start it


class Alarm:
    """What is known from one look to the next. Times are seconds since boot."""

    def __init__(self) -> None:
        self._path = f"{paths.watch()}/state.json"
        kept = files.read_json(self._path)
        alone = _numbers({key: kept.get(key) for key in ("record", "stuck_since", "given_at", "clear_since")})
        self.record, self.stuck_since = alone.get("record", 0.0), alone.get("stuck_since", 0.0)
        self._since = _numbers(kept.get("since"))
        given = kept.get("given")
        self._given = {str(key): str(text) for key, text in given.items()} if isinstance(given, dict) else {}
        self._given_at = alone.get("given_at", 0.0)
        self._clear_since = alone.get("clear_since", 0.0)
        self.cluster = _numbers(kept.get("cluster"))
        """What cluster.py remembers."""

    @property
    def text(self) -> str:
        """The alarm while it lasts; else empty."""
        return "; and ".join(self._given.values())

    @property
    def lasts_since(self) -> float:
        """Since when it does."""
        return self._given_at if self._given else 0.0

    def look(self, found: dict[str, str], now: float) -> None:
        """Give or end the alarm by what is seen now."""
        enough = CONFIRMED * paths.patience()
        self._since = {key: self._since.get(key, now) for key in found}
        # What the queue runner said itself it ends itself; what it has waited for has waited long enough.
        sure = {key: text for key, text in found.items() if key in (STUCK, RUNNER_S_OWN) or now - self._since[key] >= enough}
        fresh = {key: text for key, text in sure.items() if key not in self._given}
        if found and any(key not in found for key in self._given):  # some of it is over
            self._given = {key: text for key, text in self._given.items() if key in found}
            self._show()
        if fresh:
            self._given_at = self._given_at if self._given else now
            self._given |= fresh
            self._give(fresh)
        self._clear_since = 0.0 if found else self._clear_since or now
        if self._given and not found and now - self._clear_since >= enough:
            self._over(now)

    def save(self, wall: float) -> None:
        """Keep it for the next look. Raises OSError."""
        kept = {
            "time": wall, "record": self.record, "stuck_since": self.stuck_since, "since": self._since, "given": self._given,
            "given_at": self._given_at, "clear_since": self._clear_since, "cluster": self.cluster,
        }  # fmt: skip
        files.replace(self._path, json.dumps(kept).encode(), mode=0o640)

    def _give(self, fresh: dict[str, str]) -> None:
        for key, text in fresh.items():
            if key != RUNNER_S_OWN:  # that was logged, and told, by the queue runner
                log.line(f"ALARM: {text}", CRIT)
        own_only = set(fresh) == {RUNNER_S_OWN}
        self._show()
        self._tell("" if own_only else "; and ".join(fresh.values()))

    def _show(self) -> None:
        """The login message. What the queue runner said stands there by its own word."""
        text = "; and ".join(text for key, text in self._given.items() if key != RUNNER_S_OWN)
        self._write("motd", f"ALARM: {printable(text)}\nproxmox-graph-mail check says what to do.\n" if text else "")

    def _over(self, now: float) -> None:
        own_only = set(self._given) == {RUNNER_S_OWN}
        text = f"all clear: the problem with this host's mail is over, after {duration(now - self._given_at)}"
        if not own_only:
            log.line(text, log.NOTICE)
        self._given, self._given_at = {}, 0.0
        self._write("motd", "")
        self._tell("" if own_only else text, over=True)

    def _tell(self, text: str, *, over: bool = False) -> None:
        """Start the unit that tells the admin's command, and that stays failed while the alarm lasts."""
        self._write("alarm", f"{'over' if over else 'alarm'}\n{printable(text)}\n")
        start_unit()

    def _write(self, name: str, text: str) -> None:
        path = f"{paths.watch()}/{name}"
        try:
            if text:
                files.replace(path, text.encode(), mode=0o640)
            elif os.path.lexists(path):
                os.unlink(path)
        except OSError as error:
            log.line(f"cannot write {path}: {error.strerror}", log.WARNING)


def start_unit() -> None:
    """Start UNIT, and wait for nothing."""
    import subprocess  # `status` reads what is written here, and is asked every minute

    try:
        command = ["systemctl", "start", "--no-block", UNIT]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        log.line(f"cannot start {UNIT}: {type(error).__name__}", log.WARNING)


def _numbers(kept: object) -> dict[str, float]:
    """Names and numbers of a file that somebody may have damaged."""
    pairs = kept.items() if isinstance(kept, dict) else ()
    return {str(key): float(value) for key, value in pairs if isinstance(value, int | float)}


def last_look() -> float:
    """When the watch last looked, in seconds since the epoch; 0 if never."""
    time = files.read_json(f"{paths.watch()}/state.json").get("time")
    return float(time) if isinstance(time, int | float) else 0.0


def alive() -> float:
    """The last sign of life (watch.py), in seconds since the epoch; 0 if there is none."""
    try:
        return float(files.read_beginning(f"{paths.host()}/alive", 40))
    except (OSError, ValueError):
        return 0.0


def given() -> str:
    """The watch's alarm while it lasts; else empty."""
    kept = files.read_json(f"{paths.watch()}/state.json").get("given")
    return "; and ".join(str(text) for key, text in kept.items() if key != RUNNER_S_OWN) if isinstance(kept, dict) else ""
