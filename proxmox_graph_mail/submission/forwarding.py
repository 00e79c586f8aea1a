"""The words that the queue runner and proxmox-graph-mail-forward share about root's mail on its way to Proxmox's notification
system. What they say to each other stands in the message's log."""

LOCAL_ROOT = "root"
"""The local user, as a recipient that is no address: handed over, never sent."""
CODE = "Forward"
ASKED, SENT, FAILED = "asked", "sent", "failed"
DONE = "handed to Proxmox's notification system"
PATIENCE = 180.0
"""Seconds after which the queue runner no longer waits for a hand-over, and sends the mail directly."""


def delivered_to(fqdn: str) -> str:
    """The mark on what was handed over: Postfix's trace field, which cuts the loop of a target that mails local root."""
    return f"root@{fqdn}"
