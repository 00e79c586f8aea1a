"""A request to Graph: with its token and its short retries; an answer, or a RequestError.

Within one request only what is certainly not done is tried again (tenacity), for RETRY_BUDGET seconds at most and not before
Retry-After, and not at all once Graph throttles the queue: what it refuses counts against the mailbox's limit as well. The queue
does the long waiting. A 401 drops the token and tries once with a new one, with the claims of a
continuous-access-evaluation challenge if it carries one. What a refusal means is its caller's to say.
"""

import base64
import binascii
import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import tenacity

from proxmox_graph_mail.errors import ConnectionFailedError, RefusedError, RequestError, ThrottledError
from proxmox_graph_mail.graph.codes import GRAPH, THROTTLING, graph_row
from proxmox_graph_mail.graph.credential import Token
from proxmox_graph_mail.graph.http import Answer, Wire
from proxmox_graph_mail.graph.outcome import Status
from proxmox_graph_mail.graph.retry_after import seconds as retry_after_seconds
from proxmox_graph_mail.graph.throttle import Throttle
from proxmox_graph_mail.graph.token_cache import TokenCache

RETRY_BUDGET = 4.0  # seconds of short retries within one request: a moment's trouble; what lasts longer is the queue's
_CLAIMS = re.compile(r'claims="([^"]+)"')


class Graph:
    """Graph, as one app sees it. Safe for threads."""

    def __init__(
        self, wire: Wire, tokens: TokenCache, endpoint: str, throttle: Throttle, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._wire = wire
        self._tokens = tokens
        self._endpoint = endpoint
        self._throttle = throttle
        self._clock = clock
        self.patient = True
        """Are there short retries? Not for a probe of a suspended queue."""

    def call(
        self, method: str, path: str, body: bytes = b"", *, expected: int = 202, kind: str = "application/json"
    ) -> Answer:  # fmt: skip
        """One request below the version; the answer, if its status is the expected one. Raises RequestError."""
        url = f"{self._endpoint}/v1.0{path}"
        end = self._clock() + RETRY_BUDGET
        backoff = tenacity.wait_random_exponential(multiplier=2.0, max=10.0)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            named = error.retry_after if isinstance(error, RequestError) else 0.0
            return max(named + float(backoff(state)), self._throttle.remaining())

        def give_up(state: tenacity.RetryCallState) -> bool:
            return not self.patient or self._throttle.stopping() or self._clock() + state.upcoming_sleep > end

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, RequestError) and error.repeatable),
            wait=wait, stop=give_up, sleep=self._throttle.sleep, reraise=True,
        )  # fmt: skip
        return retrying(self._once, method, url, body, expected, kind)

    def upload(self, url: str, content: bytes, headers: dict[str, str]) -> Answer | None:
        """A part of an attachment to its upload session, whose URL is its own credential: no token goes there. None if the
        connection broke; with no content, ask how far it has come."""
        try:
            with self._throttle.place():
                return self._wire.request("PUT" if content else "GET", url, content=content or None, headers=headers)
        except ConnectionFailedError:
            return None

    def forget_refusal(self) -> None:
        """Ask Entra again although it refused a moment ago."""
        self._tokens.forget_refusal()

    def _once(self, method: str, url: str, body: bytes, expected: int, kind: str) -> Answer:
        if (paused := self._throttle.remaining()) > 0:
            raise ThrottledError("Graph throttles this host", "Throttled", temporary=True, retry_after=paused)
        try:
            token = self._tokens.get()
            answer = self._exchange(method, url, body, token, kind)
            if answer.status == 401:
                token = self._tokens.replace(token, claims_of(answer) or None)
                answer = self._exchange(method, url, body, token, kind)
            if answer.status == expected:
                return answer
            if answer.status in (401, 403):
                self._tokens.forget(token)  # the next one may have what was granted meanwhile
            raise refused(answer)
        except RequestError as error:
            if error.retry_after and error.shared:
                self._throttle.pause(error.retry_after)
            raise

    def _exchange(self, method: str, url: str, body: bytes, token: Token, kind: str) -> Answer:
        headers = {"Authorization": f"Bearer {token.value}", "client-request-id": str(uuid.uuid4())}
        if body:
            headers["Content-Type"] = kind
        with self._throttle.place():
            return self._wire.request(method, url, content=body, headers=headers)


def refused(answer: Answer) -> RefusedError:
    """An answer that is not the expected one, as an error."""
    code, words = error_of(answer)
    row = graph_row(answer.status, code)
    error = RefusedError(
        f"Graph refuses the request (HTTP {answer.status}{f' {code}' if code else ''}{f', {words[:200]}' if words else ''})",
        code, temporary=row.status in (Status.TRANSIENT, Status.UNCERTAIN), uncertain=row.status is Status.UNCERTAIN,
        shared=answer.status in (429, 509) or code in THROTTLING, retry_after=retry_after_seconds(answer.headers),
    )  # fmt: skip
    error.http_status = answer.status
    error.words = words
    error.request_id = request_id(answer)
    return error


def request_id(answer: Answer) -> str:
    """Microsoft's name of the request, for its support."""
    return str(answer.headers.get("request-id", ""))[:64]


def json_object(answer: Answer) -> dict[str, Any]:
    """An answer's JSON object; empty if it is of another form."""
    try:
        value = json.loads(answer.content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def error_of(answer: Answer) -> tuple[str, str]:
    """Code and message of an error answer; empty where it is not Graph's.

    Graph nests more specific codes in `innerError`: the innermost that the table knows counts, else the outermost.
    """
    try:
        error = json.loads(answer.content)["error"]
        code, message = str(error["code"]), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
    for _ in range(8):
        error = error.get("innerError") or error.get("innererror")
        if not isinstance(error, dict):
            break
        if error.get("code") in GRAPH:
            code = str(error["code"])
    return re.sub(r"[^\w.-]", "", code)[:80], " ".join(message.split())


def claims_of(answer: Answer) -> str:
    """The claims of a challenge, as JSON; empty where there is none (RFC 6750 3, Entra "claims challenge")."""
    header = answer.headers.get("www-authenticate", "")
    match = _CLAIMS.search(header) if "insufficient_claims" in header else None
    if not match:
        return ""
    try:
        claims = base64.b64decode(match[1] + "=" * (-len(match[1]) % 4), altchars=b"-_").decode()
        return claims if isinstance(json.loads(claims), dict) else ""
    except (binascii.Error, ValueError):
        return ""
