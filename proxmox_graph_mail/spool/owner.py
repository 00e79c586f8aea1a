"""Whose limits a uid counts against: its own, or those of the user whose subordinate uid it is (subuid(5)).

Any user who has a range there can act as each uid of it (newuidmap(1)), and would otherwise have sixty-five thousand times the
limits of a user. By files alone: the name service may ask the network.
"""

from proxmox_graph_mail.files import read_plain

FIRST = 65536  # below, uids are users of their own (login.defs(5), SUB_UID_MIN is 100000)
LIMIT = 1 << 20  # bytes read of each file
SUBUID, PASSWD = "/etc/subuid", "/etc/passwd"


def owner_of(uid: int) -> int:
    """The user to whom a uid belongs."""
    if uid < FIRST:
        return uid
    for name, start, count in (line.split(":") for line in _lines(SUBUID) if line.count(":") == 2):
        if start.isdigit() and count.strip().isdigit() and int(start) <= uid < int(start) + int(count):
            return int(name) if name.isdigit() else _uid_of_name(name, uid)
    return uid


def _uid_of_name(name: str, otherwise: int) -> int:
    for line in _lines(PASSWD):
        words = line.split(":")
        if words[0] == name and len(words) > 2 and words[2].isdigit():
            return int(words[2])
    return otherwise


def _lines(path: str) -> list[str]:
    try:
        return read_plain(path, LIMIT).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
