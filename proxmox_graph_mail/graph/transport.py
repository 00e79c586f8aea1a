"""What a connection that fails means: every httpx exception, mapped once.

ConnectError, ConnectTimeout, PoolTimeout, ProxyError    temporary: no byte of the request went out
  … with a certificate that is not trusted               not temporary: the admin's to mend
UnsupportedProtocol, InvalidURL, LocalProtocolError      not temporary: a setting is wrong
everything else (timeouts, resets, half an answer)       uncertain: the request may have been taken
"""

import ssl
from urllib.parse import urlsplit

import httpx

from proxmox_graph_mail.errors import ConnectionFailedError

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
MISCONFIGURED = (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError, httpx.TooManyRedirects)


def connection_failed(error: httpx.HTTPError | httpx.InvalidURL, url: str, *, proxied: bool) -> ConnectionFailedError:
    """What came of an exchange that ended without an answer; `proxied` tells whether it went through a proxy."""
    host = urlsplit(url).hostname or url
    what = _described(error)
    if isinstance(error, MISCONFIGURED):
        return ConnectionFailedError(
            f"cannot talk to {host} ({what}): check GRAPH_ENDPOINT, GRAPH_AUTHORITY and HTTPS_PROXY", type(error).__name__,
            temporary=False,
        )  # fmt: skip
    if untrusted := _certificate_problem(error):
        return ConnectionFailedError(
            f"the certificate shown for {host} is not trusted ({untrusted}): if a proxy inspects TLS, set GRAPH_CA_FILE to its "
            "CA; else check this host's clock and ca-certificates",
            "CertificateNotTrusted", temporary=False,
        )  # fmt: skip
    if isinstance(error, httpx.ProxyError) and str(error).startswith("407"):
        reason = f"the proxy requires a login ({what}): add user:password to HTTPS_PROXY"
        return ConnectionFailedError(reason, "ProxyLogin", temporary=False)
    if isinstance(error, NOT_SENT):
        where = "through the proxy of HTTPS_PROXY " if proxied else ""
        return ConnectionFailedError(f"cannot connect {where}to {host} ({what})", type(error).__name__, temporary=True)
    return ConnectionFailedError(
        f"the connection to {host} broke off ({what})", type(error).__name__, temporary=True, uncertain=True, shared=False
    )


def _described(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return f"{name}: no answer in time"
    if isinstance(error, httpx.LocalProtocolError):
        return name  # its text can hold a header's value, and so the token
    text = str(error).strip()
    return f"{name}: {text}"[:200] if text else name


def _certificate_problem(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return ""
