"""One line per event, to syslog: what every part of the program tells the admin.

The line goes to the local syslog socket (journald's or a syslog daemon's) as an RFC 3164 datagram of facility
mail, tagged `proxmox-graph-mail/PROGRAM[PID]` as Postfix tags its own. It promises never to block for more
than a second and never to raise: syslog(3) would wait for ever on a journal that hangs, and a `sendmail` that
waits can make a Proxmox node fence itself. Where there is no syslog (a container) the queue runner repeats its
lines on standard error; `sendmail` does not, for its standard error is its caller's.

Control characters become `?`: what a caller passed cannot forge a second line. No caller passes a body, a
token or a secret. Python's logging is not used: `sendmail` cannot afford the import, and one way is enough.
"""

import _socket  # socket imports selectors and enum, half of what a start of Python costs
import time

from proxmox_graph_mail import light_os as os
from proxmox_graph_mail import paths

CRIT, ERR, WARNING, NOTICE, INFO = 2, 3, 4, 5, 6
FIRST_RIGHT = 1_767_225_600.0
"""2026-01-01, in seconds since the epoch: a clock that says less is wrong (a dead battery), for this program did not exist."""
"""Severities of RFC 5424, 6.2.1."""

FACILITY_MAIL = 2 << 3
LIMIT = 2000  # bytes of a line; RFC 3164 asks receivers for 1024, journald and rsyslog take more
TIMEOUT = 1.0  # seconds a full or hung syslog socket may cost

_program = "proxmox-graph-mail"
_echo = False
_severity = INFO


def setup(program: str, *, echo: bool = False, severity: int = INFO) -> None:
    """Name this program in the tag; with `echo`, repeat each line on standard error (a run in the foreground).

    `severity` is that of a line that names none.
    """
    global _program, _echo, _severity
    _program = program
    _echo = echo
    _severity = severity


def printable(text: str) -> str:
    """`text` with everything that could end or colour a line replaced by `?`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def duration(seconds: float) -> str:
    """`3 days 2 hours`, `2 hours 5 minutes`, `16 minutes`: how long something took, in words."""
    minutes = int(seconds // 60)
    units = ((minutes // 1440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute"))
    words = [f"{count} {unit}{'s' if count != 1 else ''}" for count, unit in units if count]
    return " ".join(words[:2]) or "0 minutes"


def line(text: str, severity: int | None = None) -> None:
    """Write one line to syslog."""
    clean = printable(text)
    priority = FACILITY_MAIL | (_severity if severity is None else severity)
    _send(f"<{priority}>{_stamp()} proxmox-graph-mail/{_program}[{os.getpid()}]: {clean}")
    if _echo:
        try:
            os.write(2, f"{_program}: {clean}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # standard error is closed: there is nowhere left to say it


def _stamp() -> str:
    now = time.localtime()
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[now.tm_mon - 1]
    return f"{month} {now.tm_mday:2d} {now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"


def _send(datagram: str) -> None:
    try:
        syslog = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            syslog.settimeout(TIMEOUT)
            syslog.connect(paths.syslog())
            syslog.send(datagram.encode("utf-8", "backslashreplace")[:LIMIT])
        finally:
            syslog.close()
    except OSError:
        pass  # no syslog, or one that hangs: the mail matters more than the line
