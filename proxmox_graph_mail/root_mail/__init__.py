"""Root's mail on its way to Proxmox's notification system: both halves of the hand-over.

    decision.py    the queue runner's half: is a message local root's, has it been handed over, is it no longer waited for?
    hand_over.py   root's half, a program of its own: pipes it into proxmox-mail-forward

They talk by the spool: hand-over/ID asks, an event in the message's journal answers. It is a state of one recipient, local
root; the others' mail goes its own way.
"""
