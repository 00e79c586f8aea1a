"""What `check` asks of the network: a name, a handshake, an answer's date and certificate.

Nothing here sends a mail. A certificate that is not trusted is looked at all the same (`issuer_of`), to name who made it.
"""

import concurrent.futures
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from proxmox_graph_mail.graph.http import Wire

DNS_PATIENCE = 10.0  # seconds for a name; a resolver's own time limits add up to more
MICROSOFT_CAS = ("microsoft", "digicert")  # who signs the certificates of Microsoft's hosts, in lower case


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a host answered: HTTP status, the seconds by which this clock is ahead of its, the certificate's issuer."""

    status: int
    skew: float | None
    issuer: str


def addresses(host: str) -> list[str]:
    """The host's addresses. Raises OSError; TimeoutError if the resolver does not answer."""
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="resolver")
    try:
        answers = pool.submit(socket.getaddrinfo, host, 443, type=socket.SOCK_STREAM).result(DNS_PATIENCE)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return list(dict.fromkeys(str(entry[4][0]) for entry in answers))


def greet(wire: Wire, url: str) -> Greeting:
    """Ask a host for its front page. Raises ConnectionFailedError."""
    status, headers, layer = wire.head(url)
    return Greeting(status, _skew(headers.get("date", "")), _issuer(layer))


def _skew(date: str) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return None


def _issuer(layer: Any) -> str:
    certificate = layer.getpeercert() if layer is not None else None
    names = {key: value for rdn in (certificate or {}).get("issuer", ()) for key, value in rdn}
    return str(names.get("organizationName") or names.get("commonName") or "")


def issuer_of(host: str, port: int = 443) -> str:
    """Who made the certificate that is shown for a host, trusted or not; empty if that cannot be seen."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is looked at, and nothing is said to it
    try:
        with (
            socket.create_connection((host, port), DNS_PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=host) as layer,
        ):
            content = layer.getpeercert(binary_form=True)
        issuer = x509.load_der_x509_certificate(content or b"").issuer
    except (OSError, ValueError):
        return ""
    for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        if names := issuer.get_attributes_for_oid(kind):
            return str(names[0].value)
    return ""
