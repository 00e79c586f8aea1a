"""Can mail be taken and settled here? What can be seen of the spool from outside: is it there, whose is it, is there room.

No message is looked at. Each fault is a sentence that ends in what to do.
"""

import os
import pwd

from proxmox_graph_mail import paths
from proxmox_graph_mail.spool.incoming import MAKE
from proxmox_graph_mail.spool.store import Spool

SERVICE_USER = "proxmox-graph-mail"
ROOM = 50_000_000  # bytes free on the disk below which it counts as nearly full: root's alarm must still fit
FILES = 200  # likewise, files
RUN_REMEDY = f"{MAKE}; systemctl stop proxmox-graph-mail.service; systemctl restart 'proxmox-graph-mail*.socket'"
"""What to do where the runtime directory is missing."""


def missing(spool: Spool) -> str:
    """What is said where there is no spool."""
    made = f"{MAKE} makes it" if spool.root == paths.DEFAULT_SPOOL else "is $PROXMOX_GRAPH_MAIL_SPOOL right?"
    return f"there is no spool at {spool.root}; {made}"


def read_only(spool: Spool) -> str:
    """What is said where its disk takes no change; empty where it does."""
    if not os.statvfs(spool.queue).f_flag & os.ST_RDONLY:
        return ""
    return f"the spool {spool.root} is read-only; look at the disk (dmesg), then remount it: mount -o remount,rw"


def faults(spool: Spool) -> dict[str, str]:
    """What keeps mail from being taken or settled, by its kind; root and the service user see it all."""
    try:
        if not all(os.path.isdir(path) for path in (spool.root, spool.queue, spool.failed)):
            return {"missing": missing(spool)}
        said = {"read-only": read_only(spool), "owner": _ownership(spool), "room": _room(spool)}
    except OSError as error:
        return {"disk": f"cannot look at the spool {spool.root}: {error.strerror}; look at the disk (dmesg)"}
    return {kind: text for kind, text in said.items() if text}


def _ownership(spool: Spool) -> str:
    """May the service user write there, and the state?"""
    if spool.root != paths.DEFAULT_SPOOL:
        return ""  # a checkout's or a container's: whoever runs it owns it
    try:
        user = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return ""
    for path in (spool.root, spool.queue, spool.failed, *([paths.state()] if os.path.isdir(paths.state()) else [])):
        status = os.stat(path)
        owner = status.st_uid == user.pw_uid and status.st_mode & 0o700 == 0o700
        group = status.st_gid == user.pw_gid and status.st_mode & 0o070 == 0o070
        if not owner and not group:
            return f"the service user may not write {path}; chown -R {SERVICE_USER}: {path}; {MAKE}"
    return ""


def _room(spool: Spool) -> str:
    disk = os.statvfs(spool.queue)
    free = disk.f_bavail * disk.f_frsize
    if free < ROOM:
        return f"the disk of {spool.root} has only {free // 1_000_000} MB left; free some space"
    if disk.f_files and disk.f_favail < FILES:
        return f"the disk of {spool.root} has only {disk.f_favail} inodes left; remove some files"
    return ""
