"""How much of the spool one user's mail may take: so that nobody fills the disk under everybody's mail.

The rule: a user's mail, waiting, failed or kept, takes at most as many bytes as it leaves free on the disk, and MESSAGES
messages wait. So there is room for the next user whatever one does, and for root, who is not asked. What it takes is known by
counts kept for each user (spool/usage.py), so that it costs the same however much lies in the spool. And so that nobody uses up
the recipients that the mailbox has in 24 hours, a user's mail goes to as many as USER_DAILY_RECIPIENTS says; the service user's
own, and what comes by SMTP from nobody whom this host knows, to any number.

Raises SpoolError (temporary: the mail leaves the queue, or an admin makes room).
"""

import os
import time

from proxmox_graph_mail.errors import SpoolError
from proxmox_graph_mail.spool.incoming import translated
from proxmox_graph_mail.spool.owner import owner_of
from proxmox_graph_mail.spool.store import Spool
from proxmox_graph_mail.spool.usage import Usage, blocks, daily_recipients

MESSAGES = 5000  # of one user at a time; at Exchange Online's 30 messages a minute they take some three hours
AT_ONCE = 16  # messages that one user can have on their way in (the submit socket's MaxConnectionsPerSource)
STEP = 1 << 20  # bytes of a growing message after which the disk is looked at again


class Quota:
    """One message on its way in, of the user `uid`."""

    def __init__(self, spool: Spool, uid: int) -> None:
        self._spool = spool
        self._uid = owner_of(uid)
        self._written = 0
        self._looked = 0

    def grow(self, size: int) -> None:
        """The message takes `size` bytes more."""
        self._written += size
        if self._written - self._looked >= STEP:
            self._looked = self._written
            if self._written * AT_ONCE > (free := self._free()):  # as many may be growing beside it
                raise SpoolError(f"not enough disk space: {_mb(free)} left on the disk; free some space, then send again")

    def settle(self, size: int, recipients: int) -> None:
        """The message, to so many, is whole, and in the spool as `.ID`, whose bytes are `size`."""
        free, size = self._free(), blocks(size)
        with Usage(self._spool, self._uid) as usage:
            self._check_recipients(usage, recipients)
            usage.add(1, size)
            if not usage.known or (not usage.fresh and self._refusal(usage, free)):
                usage.count()
            if refusal := self._refusal(usage, free):
                usage.add(-1, -size)
                raise SpoolError(refusal)
            usage.add_recipients(recipients, time.time())

    def _check_recipients(self, usage: Usage, recipients: int) -> None:
        limit, now = daily_recipients(self._spool), time.time()
        if not limit or self._uid == os.geteuid() or (before := usage.recipients(now)) + recipients <= limit:
            return
        usage.refuse(now)
        raise SpoolError(
            f"uid {self._uid} may send to {limit} recipients in 24 hours; it has sent to {before}, and this message is to "
            f"{recipients} more. Send it later, or ask the admin to raise USER_DAILY_RECIPIENTS"
        )

    def _refusal(self, usage: Usage, free: int) -> str:
        """Why there is no room for it; empty if there is."""
        if usage.messages > MESSAGES:
            return f"uid {self._uid} has {MESSAGES} messages waiting already; send again when some have left the queue"
        if usage.bytes > free:
            return (
                f"the mail of uid {self._uid} would take {_mb(usage.bytes)} of the disk and leave only {_mb(free)}; "
                "free some space, or send again when some has left the queue"
            )
        return ""

    def _free(self) -> int:
        try:
            status = os.statvfs(self._spool.queue)
        except OSError as error:
            raise translated(error, self._spool.queue) from error
        return status.f_bavail * status.f_frsize


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
