"""Every httpx exception is mapped; nothing that may have been sent counts as not sent."""

import httpx
import pytest

from proxmox_graph_mail.graph.codes import judge
from proxmox_graph_mail.graph.outcome import Status
from proxmox_graph_mail.graph.transport import connection_failed

URL = "https://graph.example.com/v1.0/users/x/sendMail"


def every_exception() -> list[type[Exception]]:
    """All concrete transport exceptions of httpx."""

    def below(cls: type[Exception]) -> list[type[Exception]]:
        subclasses = cls.__subclasses__()
        return [cls] if not subclasses else [found for sub in subclasses for found in below(sub)]

    return below(httpx.RequestError)


NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
WRONG_SETTING = {"UnsupportedProtocol", "LocalProtocolError", "TooManyRedirects"}


@pytest.mark.parametrize("kind", every_exception(), ids=lambda kind: kind.__name__)
def test_the_map_is_complete(kind: type[Exception]) -> None:
    """Certainly not sent, a wrong setting, or uncertain: one of the three, with the host and the kind named."""
    error = connection_failed(kind("boom"), URL, proxied=False)  # type: ignore[arg-type]
    found = judge(error)
    assert error.repeatable is (kind.__name__ in NOT_SENT)
    expected = (
        Status.TRANSIENT if kind.__name__ in NOT_SENT else Status.HELD if kind.__name__ in WRONG_SETTING else Status.UNCERTAIN
    )
    assert found.status is expected
    assert "graph.example.com" in found.reason
    assert kind.__name__ in found.reason
    assert found.shared is (expected is not Status.UNCERTAIN)


def test_a_proxy_is_named_and_its_login_is_the_admin_s() -> None:
    """407 is held; a proxy that cannot be reached is told from Graph."""
    assert not connection_failed(httpx.ProxyError("407 Proxy Authentication Required"), URL, proxied=True).temporary
    assert "through the proxy of HTTPS_PROXY" in str(connection_failed(httpx.ConnectError("refused"), URL, proxied=True))


def test_a_header_s_value_is_not_repeated() -> None:
    """A token with a line end in it makes httpx quote it."""
    error = connection_failed(httpx.LocalProtocolError("Illegal header value b'Bearer eyJSECRET'"), URL, proxied=False)
    assert "eyJSECRET" not in str(error)


def test_an_invalid_url_is_a_wrong_setting() -> None:
    """httpx.InvalidURL is no RequestError."""
    assert judge(connection_failed(httpx.InvalidURL("x"), URL, proxied=False)).status is Status.HELD
