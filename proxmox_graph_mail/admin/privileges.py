"""Who runs the command: what is root's alone, and going on as the service user."""

import os

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import PrivilegeError, SpoolError
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.wake import become_owner


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


def refresh_facts() -> None:
    """As root, and on a host that has a place for them: read anew what Proxmox says."""
    if os.geteuid() == 0 and os.path.isdir(paths.host()):
        from proxmox_graph_mail.proxmox import facts

        try:
            facts.refresh()
        except OSError as error:
            log.line(f"cannot write {paths.host()}: {error.strerror}", log.WARNING)
