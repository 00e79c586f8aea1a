"""What a failed HTTP exchange means for the mail: every httpx exception, mapped once.

ConnectError, ConnectTimeout, PoolTimeout, ProxyError    transient: no byte of the request went out
  … with a certificate that is not trusted               held: the admin's to mend
UnsupportedProtocol, InvalidURL, LocalProtocolError      held: a setting is wrong
everything else (timeouts, resets, half an answer)       uncertain: the request may have been taken
"""

import ssl
from urllib.parse import urlsplit

import httpx

from proxmox_graph_mail.graph.outcome import Outcome, Status

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
MISCONFIGURED = (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError, httpx.TooManyRedirects)


def judge_transport(error: httpx.HTTPError | httpx.InvalidURL, url: str, proxy: bool = False) -> Outcome:
    """The outcome of an exchange that ended without an answer; `proxy` tells whether it went through one."""
    host = urlsplit(url).hostname or url
    what = _described(error)
    if isinstance(error, MISCONFIGURED):
        return Outcome(
            Status.HELD, f"cannot talk to {host} ({what}): check GRAPH_ENDPOINT, GRAPH_AUTHORITY and HTTPS_PROXY",
            type(error).__name__, shared=True,
        )  # fmt: skip
    if untrusted := _certificate_problem(error):
        return Outcome(
            Status.HELD,
            f"the certificate shown for {host} is not trusted ({untrusted}): if a proxy inspects TLS, set GRAPH_CA_FILE "
            "to its CA; else check this host's clock and ca-certificates",
            "CertificateNotTrusted", shared=True,
        )  # fmt: skip
    if isinstance(error, httpx.ProxyError) and str(error).startswith("407"):
        return Outcome(Status.HELD, f"the proxy wants a login ({what}): put it into HTTPS_PROXY", "ProxyLogin", shared=True)
    if isinstance(error, NOT_SENT):
        where = "through the proxy of HTTPS_PROXY " if proxy else ""
        return Outcome(Status.TRANSIENT, f"cannot connect {where}to {host} ({what})", type(error).__name__, shared=True)
    return Outcome(
        Status.UNCERTAIN, f"the connection to {host} broke off ({what}): the mail may have been sent", type(error).__name__
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
