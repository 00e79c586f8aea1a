"""Who runs the command: what is root's alone, and going on as the service user."""

import os

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import PrivilegeError, SpoolError
from proxmox_graph_mail.spool.store import Spool


def require_root(what: str) -> None:
    """Raise PrivilegeError unless this is root."""
    if os.geteuid() != 0:
        raise PrivilegeError(f"only root may see and change {what}")


def become_service_user(spool: Spool) -> None:
    """If root: go on as the spool's owner, so that what is written stays the service's to write."""
    try:
        become_owner(spool.root)
    except OSError as error:
        raise SpoolError(f"there is no spool at {spool.root}: {error.strerror}") from error


def become_owner(path: str) -> None:
    """If root: go on as the owner of a directory. Raises OSError if it is not there."""
    owner = os.stat(path)
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def refresh_facts() -> None:
    """As root, and on a host that has a place for them: read anew what Proxmox says."""
    if os.geteuid() == 0 and os.path.isdir(paths.host()):
        from proxmox_graph_mail.proxmox import facts

        try:
            facts.refresh()
        except OSError as error:
            log.line(f"cannot write {paths.host()}: {error.strerror}", log.WARNING)
