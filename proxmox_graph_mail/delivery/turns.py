"""Whose message is next: the users in turn, and last of all what a runner died of. Pure functions."""

from collections import Counter
from collections.abc import Iterable

from proxmox_graph_mail.delivery.index import Queued


def in_turns(messages: Iterable[Queued], *, probing: bool = False) -> list[Queued]:
    """The oldest message of each user, then the second oldest of each, and so on.

    Ten thousand mails of one user's script so delay another's alarm by one, not by ten thousand: at the 30 messages a minute
    that Exchange Online takes from a mailbox, by hours. While a suspended queue is probed, another message is the probe each
    round: a mail that alone meets the refusal must not stop the others. Last come those that were in hand when a runner died.
    """
    turns: Counter[int] = Counter()
    ranked = []
    for message in messages:
        ranked.append((message.deaths > 0, message.probes if probing else 0, turns[message.uid], message))
        turns[message.uid] += 1
    ranked.sort(key=lambda rank: rank[:3])  # stable: within a turn the oldest first
    return [message for *_, message in ranked]
