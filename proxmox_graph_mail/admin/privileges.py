"""Who runs the command: what is root's alone, and going on as the service user."""

import json
import os
from collections.abc import Callable
from typing import Any

from proxmox_graph_mail import log, paths
from proxmox_graph_mail.errors import ConfinedError, PrivilegeError, SpoolError
from proxmox_graph_mail.spool import condition
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
        raise SpoolError(condition.missing(spool)) from error


def as_service_user(do: Callable[[], Any]) -> Any:
    """What `do` returns (as JSON holds it), done by a process of the service user's: root's rights are nowhere near the network.

    Raises SpoolError if nobody owns the spool, ConfinedError if the process ends without an answer.
    """
    spool = Spool()
    if not os.path.isdir(spool.root):
        raise SpoolError(condition.missing(spool))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            become_service_user(spool)
            answer = json.dumps(do()).encode()
            os.write(writing, answer)
            status = 0
        except BaseException as error:  # noqa: BLE001 - it must not go on as a second rotate; and no secret is in its name
            log.line(f"the process that speaks to Microsoft failed: {type(error).__name__}", log.ERR)
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read()
    _, ended = os.waitpid(pid, 0)
    if not answer:
        raise ConfinedError(f"the process that speaks to Microsoft ended with status {os.waitstatus_to_exitcode(ended)}")
    return json.loads(answer)


def refresh_facts() -> None:
    """As root, and on a host that has a place for them: read anew what Proxmox says."""
    if os.geteuid() == 0 and os.path.isdir(paths.host()):
        from proxmox_graph_mail.proxmox import facts

        try:
            facts.refresh()
        except OSError as error:
            log.line(f"cannot write {paths.host()}: {error.strerror}", log.WARNING)
