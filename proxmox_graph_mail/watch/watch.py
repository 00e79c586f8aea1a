"""proxmox-graph-mail-watch: one look; the program of proxmox-graph-mail-watch.service, which its timer starts every minute.

HOST/alive   when this host was last found well, once a day: a sign of life for an outside watch
"""

import os
import sys
import time

from proxmox_graph_mail import files, log, paths
from proxmox_graph_mail.errors import EX_OK, EX_TEMPFAIL
from proxmox_graph_mail.watch import cluster
from proxmox_graph_mail.watch.alarm import Alarm, alive
from proxmox_graph_mail.watch.sights import Settled, seen

LIFE = 86400.0 - 600  # seconds between two signs of life


def main() -> None:
    """The program."""
    log.setup("watch")
    try:
        look(time.clock_gettime(time.CLOCK_BOOTTIME), time.time())
    except OSError as error:
        log.line(f"the watch cannot look: {error.filename or ''}: {error.strerror}", log.ERR)
        sys.exit(EX_TEMPFAIL)
    sys.exit(EX_OK)


def look(now: float, wall: float) -> None:
    """Look, and say what is to be said. `now` is in seconds since boot, `wall` since the epoch. Raises OSError."""
    os.makedirs(paths.watch(), 0o755, exist_ok=True)
    alarm = Alarm()
    found, settled = seen(Settled(alarm.record, alarm.stuck_since), now, paths.patience())
    alarm.record, alarm.stuck_since = settled
    alarm.look(found, now)
    lasts = now - alarm.lasts_since if alarm.lasts_since else 0.0
    alarm.cluster = cluster.exchange(alarm.text, lasts, alarm.cluster, now, wall)
    if not found:
        _live(wall)
    alarm.save(wall)


def _live(wall: float) -> None:
    """Once a day: a sign of life."""
    path = f"{paths.host()}/alive"
    if not 0 <= wall - alive() < LIFE:
        try:
            files.replace(path, f"{wall:.0f}\n".encode(), mode=0o640)
        except OSError as error:
            log.line(f"cannot write {path}: {error.strerror}", log.WARNING)
