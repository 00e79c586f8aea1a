"""Who is at the other end of a connection, by the kernel's word: whose limits it counts against, and whose mail it brings.

A Unix socket's peer is known (SO_PEERCRED). A TCP connection from this host is a socket of somebody's too, whose owner the kernel
lists (proc_pid_net(5), /proc/self/net/tcp). One that has been closed has no owner any more, and is nobody's.
"""

import socket
import sys

from proxmox_graph_mail.host import GUESTS

NOBODY_KNOWN = -1
MAPPED = "::ffff:"
"""How an IPv4 address begins at a socket for both (RFC 4291 2.5.5.2)."""


def uid_by_unix_socket(connection: socket.socket) -> int:
    """The user who connected (unix(7): pid, uid, gid as C ints)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def uid_by_tcp(connection: socket.socket) -> int:
    """The local user whose socket the other end is; NOBODY_KNOWN if it is not on this host, or was closed already.

    Whatever its state: a client that has said all may have closed its half. At a socket for IPv4 and IPv6 both, a local IPv4
    client is in the table of IPv4, or of IPv6 if its own socket is of that kind.
    """
    names = (connection.getpeername()[:2], connection.getsockname()[:2])
    wanted = [("/proc/self/net/tcp6" if ":" in names[0][0] else "/proc/self/net/tcp", names)]
    if names[0][0].startswith(MAPPED):
        wanted.append(("/proc/self/net/tcp", tuple((name[0].removeprefix(MAPPED), name[1]) for name in names)))  # type: ignore[arg-type]
    for table, (there, here) in wanted:
        ends = [_in_hexadecimal(there), _in_hexadecimal(here)]
        with open(table, encoding="ascii") as file:
            for line in file:
                # sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
                words = line.split()
                if words[1:3] == ends and words[9] != "0":  # inode 0: nobody's, and listed as root's
                    return int(words[7])
    return NOBODY_KNOWN


def guest(connection: socket.socket) -> int:
    """The number of the machine at the other end (host.py, GUESTS); NOBODY_KNOWN if that is this host."""
    there, here = connection.getpeername()[0], connection.getsockname()[0]
    if there == here:
        return NOBODY_KNOWN
    if there.startswith(MAPPED):
        return GUESTS + int.from_bytes(socket.inet_aton(there.removeprefix(MAPPED)), "big")
    packed = socket.inet_pton(connection.family, there)
    if len(packed) == 4:
        return GUESTS + int.from_bytes(packed, "big")
    return 2 * GUESTS + (int.from_bytes(packed[:4], "big") ^ int.from_bytes(packed[4:8], "big"))


def is_admitted(address: str, networks: str) -> bool:
    """Is this address in one of the networks (CIDR, separated by blanks)? What is no network admits nobody."""
    import ipaddress  # only guests need it

    guest_address = ipaddress.ip_address(address.removeprefix(MAPPED))
    for text in networks.split():
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        if guest_address.version == network.version and guest_address in network:
            return True
    return False


def _in_hexadecimal(name: tuple[str, int]) -> str:
    """An address as the kernel writes it: words of four bytes in the machine's order, and the port."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in name[0] else socket.AF_INET, name[0])
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return "".join([f"{word:08X}" for word in words]) + f":{name[1]:04X}"
