"""The one HTTP client: keep-alive, timeouts, proxy, CA file; no redirect is followed, no answer is read without bound.

What fails below HTTP is translated here, once: ConnectionFailedError (transport.py).
"""

import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from proxmox_graph_mail import __version__, files
from proxmox_graph_mail.errors import SettingsError
from proxmox_graph_mail.graph.deadline import ProxyWatch, context, deadline
from proxmox_graph_mail.graph.transport import NOT_SENT, connection_failed

TIMEOUT = httpx.Timeout(connect=10.0, read=60.0, write=60.0, pool=60.0)
"""Seconds. Reading waits for Exchange to take the message, which it does within seconds or hardly at all."""
KEEP_ALIVE = 60.0
"""Seconds an idle connection is kept: shorter than Microsoft's front doors keep theirs, so that theirs never ends first."""
ANSWER_LIMIT = 1 << 20  # bytes read of an answer; a token is 3 kB, an error 1 kB
EXCHANGE, SLOWEST = 90.0, 20_000
"""Seconds that a whole exchange may take, however the other side dribbles; and, for what is sent, bytes a second on top."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and the first ANSWER_LIMIT bytes of an answer."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def text(self) -> str:
        """The content as text; answers of Graph and Entra are UTF-8."""
        return self.content.decode("utf-8", "replace")


class Wire:
    """A client that trusts the system's certificates and `ca_file`, and reaches `hosts` through `proxy`, but for those that
    `no_proxy` names (a list as in NO_PROXY). Other hosts, such as a managed identity's, are reached directly. Safe for threads.

    Every argument is asked for, so that nobody forgets the proxy. Raises SettingsError if the CA file cannot be read or the proxy
    is not a URL.
    """

    def __init__(
        self, ca_file: Path | None, proxy: str, no_proxy: str, hosts: Iterable[str], stop: threading.Event | None = None
    ) -> None:  # fmt: skip
        self._stop = stop
        trust = _trust(ca_file)
        limits = httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=KEEP_ALIVE)
        self._proxied = frozenset(host for host in hosts if proxy and not _bypassed(host, no_proxy))
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        try:
            # An https:// proxy shows a certificate of its own.
            via = httpx.Proxy(proxy, ssl_context=trust if proxy.startswith("https:") else None) if self._proxied else None
            mounts = {f"all://{host}": httpx.HTTPTransport(verify=trust, limits=limits, proxy=via) for host in self._proxied}
        except (ValueError, ImportError, httpx.InvalidURL):
            raise SettingsError("HTTPS_PROXY is not an http:// or https:// URL") from None
        self.client = httpx.Client(
            verify=trust, timeout=TIMEOUT, limits=limits, mounts=mounts, trust_env=False, follow_redirects=False,
                        # A few kilobytes of nested compression unpack to gigabytes.
            headers={"User-Agent": f"proxmox-graph-mail/{__version__}", "Accept-Encoding": "identity"},
        )  # fmt: skip

    def request(
        self, method: str, url: str, *, content: bytes | None = None, data: dict[str, str] | None = None,
        params: dict[str, str] | None = None, headers: dict[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """One request. Raises ConnectionFailedError."""
        try:
            with (
                self._watched(EXCHANGE + len(content or b"") / SLOWEST, url) as extensions,
                self.client.stream(
                    method, url, content=content, data=data, params=params, headers=headers, extensions=extensions
                ) as response,
            ):
                body = bytearray()
                for chunk in response.iter_raw(1 << 14):
                    body += chunk
                    if len(body) >= ANSWER_LIMIT:
                        break
                return Answer(response.status_code, response.headers, bytes(body[:ANSWER_LIMIT]))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise connection_failed(error, url, proxied=self.proxies(url)) from error

    def head(self, url: str) -> tuple[int, httpx.Headers, Any]:
        """Status, headers and TLS layer (None: plain) of a host's front page. Raises ConnectionFailedError."""
        try:
            with self._watched(EXCHANGE, url) as extensions, self.client.stream("GET", url, extensions=extensions) as response:
                stream = response.extensions.get("network_stream")
                return response.status_code, response.headers, stream.get_extra_info("ssl_object") if stream is not None else None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise connection_failed(error, url, proxied=self.proxies(url)) from error

    @contextmanager
    def _watched(self, seconds: float, url: str) -> Iterator[dict[str, Any]]:
        """An exchange with a deadline; yields what its request must carry."""
        with deadline(seconds, self._stop):
            if not self.proxies(url):
                yield {}
                return
            watch = ProxyWatch(self._stop)
            try:
                yield {"trace": watch.step}
            except httpx.HTTPError as error:
                if watch.connecting and not isinstance(error, NOT_SENT):
                    raise httpx.ProxyError(f"CONNECT got no answer: {type(error).__name__}") from error
                raise
            finally:
                watch.close()

    def proxies(self, url: str) -> bool:
        """Is the URL's host reached through the proxy?"""
        return urlsplit(url).hostname in self._proxied

    def close(self) -> None:
        """Close every connection."""
        self.client.close()


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    trust = context()
    if ca_file is not None:
        try:
            files.read_named(ca_file, 1)  # a FIFO would be waited for
            trust.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if not isinstance(error, ssl.SSLError) and error.strerror else "no PEM certificates in it"
            raise SettingsError(f"GRAPH_CA_FILE {ca_file}: {reason}") from error
    return trust


def _bypassed(host: str, no_proxy: str) -> bool:
    """Does a NO_PROXY list name the host: itself, a domain above it, or `*`?"""
    names = [name.strip().lower().removeprefix("*").lstrip(".") for name in no_proxy.split(",") if name.strip()]
    return any(name == "" or host.lower() == name or host.lower().endswith(f".{name}") for name in names)
