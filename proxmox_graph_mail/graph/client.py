"""sendMail: one call, with its token and its short retries, → one outcome.

Within one attempt only what is certainly not sent is tried again (tenacity), for RETRY_BUDGET seconds at most and not
before Retry-After; the queue does the long waiting. A 401 drops the token and tries once with a new one, with the
claims of a continuous-access-evaluation challenge if it carries one. Nothing here raises for what Graph answers.
"""

import base64
import binascii
import json
import re
import time
import uuid
from collections.abc import Callable
from urllib.parse import quote

import httpx
import tenacity

from proxmox_graph_mail.graph.credential import CredentialError, Token
from proxmox_graph_mail.graph.http import Answer, proxied, request
from proxmox_graph_mail.graph.outcome import GRAPH, Outcome, Status, judge_graph
from proxmox_graph_mail.graph.retry_after import seconds as retry_after_seconds
from proxmox_graph_mail.graph.throttle import Throttle
from proxmox_graph_mail.graph.token_cache import TokenCache
from proxmox_graph_mail.graph.transport import judge_transport

RETRY_BUDGET = 30.0
"""Seconds of short retries within one attempt."""
_CLAIMS = re.compile(r'claims="([^"]+)"')


class GraphClient:
    """The mailbox's sendMail. Safe for threads."""

    def __init__(
        self, http: httpx.Client, tokens: TokenCache, endpoint: str, throttle: Throttle,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._http = http
        self._tokens = tokens
        self._endpoint = endpoint
        self._throttle = throttle
        self._clock = clock

    def send_mail(self, mailbox: str, body: bytes) -> Outcome:
        """Send a request made by message.request_body; return what came of it, after short retries."""
        url = f"{self._endpoint}/v1.0/users/{quote(mailbox, safe='@')}/sendMail"
        end = self._clock() + RETRY_BUDGET
        backoff = tenacity.wait_random_exponential(multiplier=1.0, max=10.0)

        def wait(state: tenacity.RetryCallState) -> float:
            named = state.outcome.result().retry_after if state.outcome else 0.0
            return max(named or float(backoff(state)), self._throttle.remaining())

        def give_up(state: tenacity.RetryCallState) -> bool:
            return self._throttle.stopping() or self._clock() + state.upcoming_sleep > end

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda outcome: outcome.status is Status.TRANSIENT),
            wait=wait,
            stop=give_up,
            sleep=self._throttle.sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        outcome: Outcome = retrying(self._once, url, body)
        return outcome

    def forget_refusals(self) -> None:
        """Ask Entra again although it refused the credential a moment ago."""
        self._tokens.forget_refusal()

    def _once(self, url: str, body: bytes) -> Outcome:
        if (paused := self._throttle.remaining()) > 0:
            return Outcome(Status.TRANSIENT, "Graph throttles this host", "Throttled", paused, shared=True)
        try:
            token = self._tokens.get()
            outcome, challenge = self._post(url, body, token)
            if challenge is not None:
                token = self._tokens.replace(token, challenge or None)
                outcome, _ = self._post(url, body, token)
            if outcome.status is Status.HELD and outcome.shared:
                self._tokens.forget(token)
        except CredentialError as error:
            outcome = error.outcome
        if outcome.retry_after and outcome.shared:
            self._throttle.pause(outcome.retry_after)
        return outcome

    def _post(self, url: str, body: bytes, token: Token) -> tuple[Outcome, str | None]:
        """The outcome of one request, and for a 401 the claims to ask a new token with (empty: none)."""
        headers = {
            "Authorization": f"Bearer {token.value}",
            "Content-Type": "application/json",
            "client-request-id": str(uuid.uuid4()),
        }
        try:
            answer = request(self._http, "POST", url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return judge_transport(error, url, proxied(self._http, url)), None
        code, message = error_of(answer)
        outcome = judge_graph(
            answer.status, code, message,
            retry_after=retry_after_seconds(answer.headers), request_id=answer.headers.get("request-id", "")[:64],
        )  # fmt: skip
        return outcome, claims_of(answer) if answer.status == 401 else None


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
