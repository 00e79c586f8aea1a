"""sendMail against the stand-in: every fault has its outcome, and nothing is sent twice within an attempt."""

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxmox_graph_mail.errors import CredentialError
from proxmox_graph_mail.graph import request as request_module
from proxmox_graph_mail.graph.credential import Credential
from proxmox_graph_mail.graph.entra import TokenEndpoint
from proxmox_graph_mail.graph.http import Answer, Wire
from proxmox_graph_mail.graph.mailbox import SendingMailbox
from proxmox_graph_mail.graph.message import request_body
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.graph.permissions import Permissions
from proxmox_graph_mail.graph.request import Graph, error_of
from proxmox_graph_mail.graph.throttle import Throttle
from proxmox_graph_mail.graph.token_cache import TokenCache
from tests.graph.test_credential import credential, wire_to
from tests.message.test_corpus import converted
from tests.programs import Sandbox

BODY = request_body(converted(b"Subject: hello\n\nx", ["a@example.com"]), save_to_sent_items=False)


@pytest.fixture
def wire(sandbox: Sandbox) -> Iterator[Wire]:
    with wire_to(sandbox) as made:
        yield made


def graph_of(sandbox: Sandbox, wire: Wire, state: Path, who: Credential | None = None, throttle: Throttle | None = None) -> Graph:
    tokens = TokenCache(state, TokenEndpoint(who or credential(sandbox), wire))
    return Graph(wire, tokens, sandbox.url, throttle or Throttle())


@pytest.fixture
def graph(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> Graph:
    return graph_of(sandbox, wire, tmp_path)


def send(graph: Graph, mailbox: str = "pve@example.com", body: bytes = BODY) -> Outcome:
    return SendingMailbox(graph, mailbox, Permissions(None, "")).send(body)


def test_a_mail_is_sent_and_its_request_id_kept(sandbox: Sandbox, graph: Graph) -> None:
    """202."""
    outcome = send(graph)
    assert outcome.status is Status.SENT
    (mail,) = sandbox.accepted()
    assert mail["request_id"] == outcome.request_id
    assert mail["save_to_sent_items"] is False


def test_each_request_has_a_client_request_id_of_its_own(sandbox: Sandbox, graph: Graph) -> None:
    """A GUID."""
    send(graph)
    send(graph)
    assert len({mail["client_request_id"] for mail in sandbox.accepted()}) == 2


def test_the_connection_is_kept(sandbox: Sandbox, graph: Graph) -> None:
    """Twenty mails, one connection more than before."""
    send(graph)
    before = sandbox.counts()["connections"]
    for _ in range(20):
        send(graph)
    after = sandbox.counts()["connections"]
    assert after - before <= 2  # the control requests make one each


@pytest.mark.parametrize(
    ("fault", "status", "arrived"),
    [
        ({"do": "cut_before"}, Status.UNCERTAIN, 0),
        ({"do": "cut_after"}, Status.UNCERTAIN, 1),
        ({"do": "status_after", "status": 504, "code": "UnknownError"}, Status.UNCERTAIN, 1),
        ({"do": "status", "status": 500, "code": "ErrorInternalServerError"}, Status.UNCERTAIN, 0),
        ({"do": "status", "status": 502, "code": ""}, Status.UNCERTAIN, 0),
        ({"do": "garbage", "status": 502}, Status.UNCERTAIN, 0),
        ({"do": "garbage", "status": 200}, Status.UNCERTAIN, 0),
        ({"do": "status_after", "status": 200, "code": ""}, Status.UNCERTAIN, 1),
        ({"do": "redirect"}, Status.HELD, 0),
        ({"do": "giant", "status": 400}, Status.FAILED, 0),
        ({"do": "status", "status": 400, "code": "ErrorInvalidRecipients"}, Status.FAILED, 0),
        ({"do": "status", "status": 403, "code": "ErrorAccessDenied"}, Status.HELD, 0),
        ({"do": "status", "status": 507, "code": "ErrorQuotaExceeded"}, Status.HELD, 0),
        ({"do": "status", "status": 413, "code": ""}, Status.HELD, 0),
    ],
    ids=str,
)  # fmt: skip
def test_faults_have_their_outcome_and_are_not_repeated(
    sandbox: Sandbox, graph: Graph, fault: dict[str, Any], status: Status, arrived: int
) -> None:
    """What may have been sent is never sent again within the attempt."""
    sandbox.faults({"on": "sendMail", **fault})
    assert send(graph).status is status
    assert len(sandbox.accepted()) == arrived
    assert sandbox.counts()["sendmail"] == 1
    assert sandbox.counts()["leaked"] == 0


def test_a_hanging_answer_is_uncertain(sandbox: Sandbox, graph: Graph, wire: Wire) -> None:
    """After the read timeout."""
    wire.client.timeout = httpx.Timeout(5.0, read=0.3)
    sandbox.faults({"on": "sendMail", "do": "hang", "seconds": 20})
    outcome = send(graph)
    assert outcome.status is Status.UNCERTAIN
    assert "ReadTimeout" in outcome.reason


def test_what_is_certainly_not_sent_is_tried_again_at_once(sandbox: Sandbox, graph: Graph) -> None:
    """503 with a code, then 202: one mail."""
    sandbox.faults({"on": "sendMail", "status": 503, "code": "ErrorServerBusy"})
    assert send(graph).status is Status.SENT
    assert len(sandbox.accepted()) == 1
    assert sandbox.counts()["sendmail"] == 2


def test_retry_after_is_waited_for(sandbox: Sandbox, graph: Graph) -> None:
    """Not a moment less."""
    sandbox.faults({"on": "sendMail", "status": 429, "code": "ApplicationThrottled", "retry_after": "1"})
    start = time.monotonic()
    assert send(graph).status is Status.SENT
    assert time.monotonic() - start >= 1


def test_a_retry_after_beyond_the_budget_is_left_to_the_queue(sandbox: Sandbox, graph: Graph) -> None:
    """The attempt ends at once and says how long; others ask nothing meanwhile."""
    sandbox.faults({"on": "sendMail", "status": 429, "code": "ApplicationThrottled", "retry_after": "120", "times": 9})
    start = time.monotonic()
    outcome = send(graph)
    assert (outcome.status, outcome.retry_after, outcome.shared) == (Status.TRANSIENT, 120, True)
    other = send(graph)
    assert other.status is Status.TRANSIENT
    assert 100 < other.retry_after <= 120
    assert time.monotonic() - start < 5
    assert sandbox.counts()["sendmail"] == 1


def test_the_budget_of_short_retries_ends(sandbox: Sandbox, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that stays busy: after RETRY_BUDGET seconds at most the queue takes over, and then asks once a round."""
    monkeypatch.setattr(request_module, "RETRY_BUDGET", 1.5)
    sandbox.faults({"on": "sendMail", "status": 503, "code": "ErrorServerBusy", "times": 1000})
    start = time.monotonic()
    assert send(graph).status is Status.TRANSIENT
    assert time.monotonic() - start < 5
    asked = sandbox.counts()["sendmail"]
    graph.patient = False
    assert send(graph).status is Status.TRANSIENT
    assert sandbox.counts()["sendmail"] == asked + 1


def test_throttling_stops_all_senders(sandbox: Sandbox, graph: Graph) -> None:
    """One 429, and nobody asks until its Retry-After is over."""
    sandbox.faults({"on": "sendMail", "status": 429, "code": "ApplicationThrottled", "retry_after": "1"})
    start = time.monotonic()
    with ThreadPoolExecutor(1) as first:
        throttled = first.submit(send, graph)
        while sandbox.counts()["sendmail"] < 1:
            pass
        with ThreadPoolExecutor(3) as others:
            assert all(outcome.status is Status.SENT for outcome in others.map(lambda _: send(graph), range(3)))
        assert throttled.result().status is Status.SENT
    times = [mail["time"] for mail in sandbox.accepted()]
    assert len(times) == 4
    assert time.monotonic() - start >= 1
    assert sandbox.counts()["sendmail"] == 5


def test_stopping_ends_the_waiting(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """SIGTERM does not wait for Retry-After."""
    stop = threading.Event()
    graph = graph_of(sandbox, wire, tmp_path, throttle=Throttle(stop))
    sandbox.faults({"on": "sendMail", "status": 429, "code": "ApplicationThrottled", "retry_after": "25"})
    threading.Timer(0.5, stop.set).start()
    start = time.monotonic()
    send(graph)
    assert time.monotonic() - start < 10


def test_a_401_is_answered_with_one_new_token(sandbox: Sandbox, graph: Graph) -> None:
    """A token that was revoked."""
    assert send(graph).status is Status.SENT
    sandbox.control(revoke=True)
    assert send(graph).status is Status.SENT
    assert sandbox.counts()["token"] == 2


def test_a_second_401_is_held(sandbox: Sandbox, graph: Graph) -> None:
    """…with two requests in all."""
    sandbox.faults({"on": "sendMail", "status": 401, "code": "InvalidAuthenticationToken", "times": 9})
    outcome = send(graph)
    assert outcome.status is Status.HELD
    assert "clock" in outcome.reason
    assert sandbox.counts()["sendmail"] == 2


def test_a_claims_challenge_is_answered_with_its_claims(sandbox: Sandbox, graph: Graph, tmp_path: Path) -> None:
    """Continuous access evaluation."""
    import jwt

    assert send(graph).status is Status.SENT
    sandbox.faults({"on": "sendMail", "do": "cae"})
    assert send(graph).status is Status.SENT
    (entry,) = json.loads((tmp_path / "tokens.json").read_text()).values()
    assert '"nbf"' in jwt.decode(entry["token"], options={"verify_signature": False})["claims"]


@pytest.mark.parametrize(
    ("roles", "mailbox", "says"),
    [
        ([], "pve@example.com", "the app may not send as this mailbox"),
        (["Mail.Send"], "nobody@example.com", "there is no such mailbox"),
    ],
)
def test_a_tenant_that_refuses_is_held_and_says_what_to_do(
    sandbox: Sandbox, graph: Graph, roles: list[str], mailbox: str, says: str
) -> None:
    """Permission and mailbox."""
    sandbox.control(roles=roles)
    outcome = send(graph, mailbox)
    assert (outcome.status, outcome.shared) == (Status.HELD, True)
    assert says in outcome.reason


def test_a_wrong_secret_is_held_without_asking_graph(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """The credential's refusal is the mail's outcome."""
    wrong = dataclasses.replace(credential(sandbox), secret="wrong")
    graph = graph_of(sandbox, wire, tmp_path, wrong)
    assert send(graph).status is Status.HELD
    assert sandbox.counts()["sendmail"] == 0


def test_the_innermost_code_that_is_known_counts() -> None:
    """Graph nests them."""
    body = {"error": {"code": "BadRequest", "message": "m", "innerError": {"code": "ErrorInvalidSender", "date": "x"}}}
    assert error_of(Answer(400, httpx.Headers(), json.dumps(body).encode())) == ("ErrorInvalidSender", "m")
    del body["error"]["innerError"]
    assert error_of(Answer(400, httpx.Headers(), json.dumps(body).encode())) == ("BadRequest", "m")
    for content in (b"", b"[]", b'{"error": 5}', b'{"error": {"code": null}}', b"[" * 100_000):
        error_of(Answer(400, httpx.Headers(), content))


def test_no_token_and_no_body_in_an_outcome(sandbox: Sandbox, graph: Graph, tmp_path: Path) -> None:
    """Whatever goes wrong."""
    body = request_body(converted(b"Subject: TOPSECRET\n\nTOPSECRET", ["a@example.com"]), save_to_sent_items=False)
    kinds = ["cut_before", "garbage", "redirect", "status", "giant"]
    sandbox.faults(*({"on": "sendMail", "do": kind, "status": 500} for kind in kinds))
    seen = [send(graph, body=body) for _ in kinds]
    (entry,) = json.loads((tmp_path / "tokens.json").read_text()).values()
    for outcome in seen:
        assert "TOPSECRET" not in repr(outcome)
        assert entry["token"] not in repr(outcome)
        assert entry["token"][-20:] not in repr(outcome)


def test_a_proxy_is_used_and_its_refusal_is_not_the_mail_s(sandbox: Sandbox, tmp_path: Path) -> None:
    """CONNECT goes to the proxy; NO_PROXY goes round it."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://user:hush@127.0.0.1:{proxy.getsockname()[1]}"
        seen: list[bytes] = []

        def refuse() -> None:
            connection, _ = proxy.accept()
            with connection:
                seen.append(connection.recv(1000))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        ca = Path(sandbox.about["ca_file"])
        with closing(Wire(ca, address, "", ["localhost"])) as wire, pytest.raises(CredentialError) as caught:
            TokenCache(tmp_path, TokenEndpoint(credential(sandbox), wire)).get()
        thread.join(10)
    assert seen[0].startswith(b"CONNECT localhost:")
    assert caught.value.temporary
    assert "through the proxy" in str(caught.value)
    assert "hush" not in str(caught.value)
    with closing(Wire(ca, address, "localhost", ["localhost"])) as wire:
        (tmp_path / "tokens.json").unlink()
        assert TokenCache(tmp_path, TokenEndpoint(credential(sandbox), wire)).get().value


def test_where_nothing_can_be_asked_sent_items_say_so(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """Neither yes nor no: then nothing is sent either. What Graph answers about Sent Items alone is a no."""
    stop = threading.Event()
    graph = graph_of(sandbox, wire, tmp_path, throttle=Throttle(stop))
    mailbox = SendingMailbox(graph, "pve@example.com", Permissions(None, "k"))
    sandbox.control(roles=["Mail.Send", "Mail.ReadBasic"])
    assert mailbox.was_sent("<nowhere@example.com>", ["a@example.com"], time.time()) is None
    stop.set()  # no short retries
    graph._tokens.forget(graph._tokens.get())
    sandbox.faults({"on": "token", "status": 503, "times": 50})
    asked = mailbox.was_sent("<nowhere@example.com>", ["a@example.com"], time.time())
    assert asked is not None
    assert asked.status is Status.TRANSIENT
