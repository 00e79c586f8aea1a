"""What systemd says of our units: what should be active and is not, what failed, what keeps restarting; and the last
error in the journal of each.

Nothing is wrong where there is no systemd, or where the units are not installed (a virtual environment, a container).
"""

import os
from typing import NamedTuple

PATIENCE = 10.0  # seconds for an answer
NEEDED = (
    "proxmox-graph-mail.socket", "proxmox-graph-mail.path", "proxmox-graph-mail-submit.socket",
    "proxmox-graph-mail-submit-root.socket", "proxmox-graph-mail-daily.timer", "proxmox-graph-mail-watch.timer",
)  # fmt: skip
"""What must be active for mail to be taken, sent and watched."""
HAND_OVER = "proxmox-graph-mail-hand-over.path"  # …where root's mail is handed to Proxmox
RUNNER = "proxmox-graph-mail.service"
SERVICES = (
    RUNNER, "proxmox-graph-mail-submit.service", "proxmox-graph-mail-smtp.service", "proxmox-graph-mail-host.service",
    "proxmox-graph-mail-hand-over.service", "proxmox-graph-mail-rotate.service",
)  # fmt: skip
"""What must not have failed."""
_SERVICE_OF = {
    "proxmox-graph-mail.socket": RUNNER, "proxmox-graph-mail-submit.socket": "proxmox-graph-mail-submit.service",
    "proxmox-graph-mail-submit-root.socket": "proxmox-graph-mail-submit.service",
}  # fmt: skip
AGAIN = 2  # restarts in a row from which a unit counts as started again and again
ERROR_LIMIT = 300  # characters of an error that are shown
INSTALLED = tuple(f"{place}/systemd/system/proxmox-graph-mail.socket" for place in ("/usr/lib", "/usr/local/lib"))


class Unit(NamedTuple):
    """One unit, as `systemctl show` has it."""

    name: str
    load: str
    active: str
    sub: str
    result: str
    restarts: int
    text: str


_SILENT = Unit(RUNNER, "", "unknown", "", "", 0, "")
"""What is known of the queue runner where systemd does not answer."""


def installed() -> bool:
    """Are the units there: the package's, or those of install-units?"""
    return any(os.path.exists(path) for path in INSTALLED)


def known(*, hand_over: bool = False) -> dict[str, Unit]:
    """Our units by name; none where there are none."""
    if not os.path.isdir("/run/systemd/system") or not installed():
        return {}
    names = (*NEEDED, *((HAND_OVER,) if hand_over else ()), *SERVICES)
    fields = "Id,LoadState,ActiveState,SubState,Result,NRestarts,StatusText"
    found = {
        unit.name: unit for unit in map(_unit, _output("systemctl", "show", *names, "-p", fields).split("\n\n")) if unit.name
    }
    return found or {RUNNER: _SILENT}


def troubles(units: dict[str, Unit]) -> dict[str, str]:
    """Unit → what is wrong with it, a sentence that ends in what to do."""
    found = {}
    for unit in units.values():
        if unit.name in SERVICES:
            text = _service_trouble(unit)
        else:
            text = "" if unit.active in ("active", "activating", "reloading") else _inactive(unit)
        if text:
            found[unit.name] = text
    return found


def last_error(name: str) -> str:
    """The last warning or error in a unit's journal since the boot; empty if there is none."""
    text = _output("journalctl", "-b", "-u", name, "-p", "warning", "-n", "20", "-o", "cat", "--no-pager")
    lines = [line for line in text.splitlines() if line and not line.startswith((f"{name}:", "Failed to start", "Stopped "))]
    return lines[-1][:ERROR_LIMIT] if lines else ""


def _service_trouble(unit: Unit) -> str:
    if unit is _SILENT:
        return "systemd does not answer; systemctl status proxmox-graph-mail"
    again = unit.restarts >= AGAIN and unit.sub.startswith("auto-restart")
    if unit.load == "masked":
        return f"{unit.name} is masked; systemctl unmask {unit.name}"
    if unit.active != "failed" and not again:
        return ""
    error = last_error(unit.name) or f"result: {unit.result}"
    what = f"keeps restarting ({unit.restarts} times)" if again else "failed"
    return f"{unit.name} {what}: {error}; journalctl -u {unit.name} says more"


def _inactive(unit: Unit) -> str:
    if unit.load == "masked":
        return f"{unit.name} is masked; systemctl unmask {unit.name}; systemctl enable --now {unit.name}"
    service = _SERVICE_OF.get(unit.name)  # with it running, systemd would not start its socket
    stop = f"systemctl stop {service}; " if service else ""
    return f"{unit.name} is not active; {stop}systemctl enable --now {unit.name}"


def _unit(text: str) -> Unit:
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    restarts = fields.get("NRestarts", "")
    name, load, active, sub, result = (fields.get(key, "") for key in ("Id", "LoadState", "ActiveState", "SubState", "Result"))
    return Unit(name, load, active, sub, result, int(restarts) if restarts.isdigit() else 0, fields.get("StatusText", ""))


def _output(*command: str) -> str:
    import subprocess  # not where there is no systemd to be asked

    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")
