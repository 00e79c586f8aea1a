"""Which message the queue runner takes in hand next.

Most come by lanes and turns (delivery/turns.py), as fast as the mailbox takes them (delivery/pace.py).
 These rules stand above that: one message probes a suspended queue, another one each
round; others than root have USERS in hand at most; of those that a runner died with, one at a time, and users' after all
others. While one of these is in hand only root's mail goes beside it, and should the runner end again, it alone is blamed.
"""

from collections.abc import Collection

from proxmox_graph_mail.delivery.index import Index
from proxmox_graph_mail.delivery.pace import Pace
from proxmox_graph_mail.delivery.queued import Place, Queued
from proxmox_graph_mail.delivery.suspension import Suspension

SENDERS = 6
"""Messages in hand at once: four whose requests are on the way (graph/throttle.py, AT_ONCE), and two that are made ready
meanwhile, so that no connection waits for a message to be taken apart."""
USERS = 3
"""Of them others than root may have: one of the four requests on the way is root's, whatever the other three wait for."""
ROOT = 0


def choose(index: Index, in_hand: Collection[Queued], suspension: Suspension, pace: Pace, now: float) -> Queued | None:
    """The message to begin now, in hand by this; None if none may."""
    if len(in_hand) >= (1 if suspension.probing else SENDERS) or not (lanes := pace.lanes(now, index.has_ready)):
        return None

    def take(only: int | None) -> Queued | None:
        return index.take(lanes, large=large, apart_from=suspension.probed, only=only, over=lambda uid: pace.over(uid, now))

    large = not any(message.large for message in in_hand)
    suspected = any(message.trouble.deaths for message in in_hand)
    if not suspected and index.has_suspect(ROOT):
        return take(ROOT) or index.take_suspect(ROOT)
    only = ROOT if suspected or sum(message.uid != ROOT for message in in_hand) >= USERS else None
    message = take(only)
    return index.take_suspect() if message is None and not in_hand else message


def may_go(index: Index, pace: Pace, now: float) -> bool:
    """Is there, of what is ready, anything whose lane may go?"""
    lanes = pace.lanes(now, index.has_ready)
    return any(index.has_ready(lane) for lane in lanes) or (bool(lanes) and index.tally.at(Place.SUSPECT) > 0)
