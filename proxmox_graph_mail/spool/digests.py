"""Digests on disk: one message that stands for many others, its members.

    digests/ID        the digest's second name, made before queue/ID: its first line names the members, which no longer go by
                      themselves. Without queue/ID it is a digest that was never begun, or that somebody removed
    digests/ID.sent   Graph has it: what is left of its members only waits to be removed

The members stay in queue/ as they are until the digest is sent. Raises SpoolError.
"""

import os
from collections.abc import Iterable

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


def waiting(spool: Spool) -> set[str]:
    """The messages that are in a digest which is on its way; what cannot be read is in none."""
    found: set[str] = set()
    try:
        for name in os.listdir(f"{spool.root}/digests"):
            if is_id(name) and os.path.lexists(f"{spool.queue}/{name}"):
                found.update(_named(f"{spool.root}/digests/{name}"))
    except OSError:
        pass  # there was none yet
    return found


def members(spool: Spool) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Of each member of a digest that is on its way, the digest; and the digests that were sent, with their members. What was
    never begun, or is no digest, is dissolved."""
    claimed: dict[str, str] = {}
    sent: dict[str, tuple[str, ...]] = {}
    directory = _directory(spool)
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise translated(error, directory) from error
    for name in names:
        queue_id = name.removesuffix(".sent")
        if not is_id(queue_id):
            if is_id(name[1:]):
                _unlink(f"{directory}/{name}")  # a killed runner's: nobody else writes here
            continue
        named = _named(f"{directory}/{name}")
        if name != queue_id:
            sent[queue_id] = named
        elif named and os.path.lexists(f"{spool.queue}/{queue_id}"):
            claimed |= dict.fromkeys(named, queue_id)
        else:
            _unlink(f"{directory}/{name}")
    return claimed, sent


def of(spool: Spool, queue_ids: Iterable[str]) -> set[str]:
    """The digests that these messages are in."""
    wanted, found = set(queue_ids), set()
    try:
        for name in os.listdir(f"{spool.root}/digests"):
            if is_id(name) and wanted.intersection(_named(f"{spool.root}/digests/{name}")):
                found.add(name)
    except OSError:
        pass  # there was none yet
    return found


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
