"""What `check` asks of the network: a name, a handshake, an answer's date and certificate, a token's claims.

Nothing here sends a mail. A certificate that is not trusted is looked at all the same (`issuer_of`), to name who made it.
"""

import base64
import binascii
import concurrent.futures
import json
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from cryptography import x509
from cryptography.x509.oid import NameOID

from proxmox_graph_mail.graph.transport import judge_transport

DNS_PATIENCE = 10.0
"""Seconds for a name; a resolver's own time limits add up to more."""
MICROSOFT_CAS = ("microsoft", "digicert")
"""Who signs the certificates of Microsoft's hosts, in lower case."""


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
        found = pool.submit(socket.getaddrinfo, host, 443, type=socket.SOCK_STREAM).result(DNS_PATIENCE)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def greet(http: httpx.Client, url: str, *, proxied: bool) -> Greeting | str:
    """Ask a host for its front page; what it answered, or a sentence that says what is wrong."""
    try:
        with http.stream("GET", url) as response:
            stream = response.extensions.get("network_stream")
            layer = stream.get_extra_info("ssl_object") if stream is not None else None
            return Greeting(response.status_code, _skew(response.headers.get("date", "")), _issuer(layer))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return judge_transport(error, url, proxied).reason.removesuffix(": the mail may have been sent")


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
        if found := issuer.get_attributes_for_oid(kind):
            return str(found[0].value)
    return ""


def claims(token: str) -> dict[str, Any]:
    """An access token's claims, for diagnosis alone (Entra calls it opaque); empty if it is of another form."""
    try:
        part = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return found if isinstance(found, dict) else {}
