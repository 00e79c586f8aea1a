"""Digests on disk: one message that stands for many others, its members.

    digests/ID        the digest's second name, made before queue/ID: its first line names the members, which no longer go by
                      themselves. Without queue/ID it is a digest that was never begun, or that somebody removed
    digests/ID.sent   Graph has it: what is left of its members only waits to be removed

The members stay in queue/ as they are until the digest is sent. Raises SpoolError.
"""

import os

from proxmox_graph_mail.errors import DataError, SpoolError
from proxmox_graph_mail.files import read_beginning
from proxmox_graph_mail.spool.envelope import LINE_LIMIT, Envelope, decode
from proxmox_graph_mail.spool.incoming import Incoming, sync_directory, translated
from proxmox_graph_mail.spool.store import Spool, is_id


def make(spool: Spool, envelope: Envelope, content: bytes) -> str:
    """Begin a digest of `envelope.members`; its queue ID. From its name in digests/ on, its members are its."""
    directory = _directory(spool)
    incoming = Incoming(directory, envelope.encode())
    incoming.write(content)
    queue_id = incoming.commit()
    try:
        os.link(f"{directory}/{queue_id}", f"{spool.queue}/{queue_id}", follow_symlinks=False)
        sync_directory(spool.queue)
    except OSError as error:
        dissolve(spool, queue_id)
        raise translated(error, spool.queue) from error
    return queue_id


def mark_sent(spool: Spool, queue_id: str) -> None:
    """Graph has it; whatever happens from here on, its members are not sent again."""
    directory = _directory(spool)
    try:
        os.rename(f"{directory}/{queue_id}", f"{directory}/{queue_id}.sent")
        sync_directory(directory)
    except FileNotFoundError:
        pass  # marked already
    except OSError as error:
        raise translated(error, directory) from error


def finish(spool: Spool, queue_id: str) -> None:
    """Nothing of it is left."""
    try:
        os.unlink(f"{_directory(spool)}/{queue_id}.sent")
    except OSError:
        pass  # it is looked at again at the next start


def dissolve(spool: Spool, queue_id: str) -> None:
    """Its members go by themselves again."""
    directory = _directory(spool)
    try:
        os.unlink(f"{directory}/{queue_id}")
        sync_directory(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise translated(error, directory) from error


def waiting(spool: Spool) -> dict[str, str]:
    """Of each member of a digest that is on its way, the digest; what cannot be read is in none. Only reads."""
    found: dict[str, str] = {}
    try:
        for name in os.listdir(f"{spool.root}/digests"):
            if is_id(name) and os.path.lexists(f"{spool.queue}/{name}"):
                found |= dict.fromkeys(_named(f"{spool.root}/digests/{name}"), name)
    except OSError:
        pass  # there was none yet
    return found


def members(spool: Spool) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Of each member of a digest that is on its way, the digest; and the digests that were sent, with their members. What was
    never begun, or is no digest, is dissolved."""
    sent: dict[str, tuple[str, ...]] = {}
    directory = _directory(spool)
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise translated(error, directory) from error
    claimed = waiting(spool)
    for name in names:
        path, queue_id = f"{directory}/{name}", name.removesuffix(".sent")
        if is_id(name[1:]) or (name == queue_id and is_id(name) and name not in claimed.values()):
            _unlink(path)  # a killed runner's: nobody else writes here
        elif name != queue_id and is_id(queue_id):
            sent[queue_id] = _named(path)
    return claimed, sent


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it stands for nothing, and is looked at again at the next start


def _named(path: str) -> tuple[str, ...]:
    try:
        return decode(read_beginning(path, LINE_LIMIT).partition(b"\n")[0]).members
    except (DataError, SpoolError, OSError):
        return ()


def _directory(spool: Spool) -> str:
    directory = f"{spool.root}/digests"
    try:
        os.makedirs(directory, 0o770, exist_ok=True)
    except OSError as error:
        raise translated(error, directory) from error
    return directory
