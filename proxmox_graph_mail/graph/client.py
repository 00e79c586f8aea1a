"""Graph's requests: each with its token and its short retries, → one outcome.

Within one request only what is certainly not done is tried again (tenacity), for RETRY_BUDGET seconds at most and not
before Retry-After; the queue does the long waiting. A 401 drops the token and tries once with a new one, with the
claims of a continuous-access-evaluation challenge if it carries one. Nothing here raises for what Graph answers.
"""

import base64
import binascii
import json
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import tenacity

from proxmox_graph_mail.graph.credential import CredentialError, Token
from proxmox_graph_mail.graph.draft import NO_PERMISSION, send_by_draft
from proxmox_graph_mail.graph.http import Answer, proxied, request
from proxmox_graph_mail.graph.outcome import GRAPH, Outcome, Status, judge_graph
from proxmox_graph_mail.graph.permissions import MAIL_READ_BASIC, MAIL_READ_WRITE, Permissions
from proxmox_graph_mail.graph.retry_after import seconds as retry_after_seconds
from proxmox_graph_mail.graph.throttle import Throttle
from proxmox_graph_mail.graph.token_cache import TokenCache
from proxmox_graph_mail.graph.transport import judge_transport
from proxmox_graph_mail.message.mail import Attachment

RETRY_BUDGET = 30.0
"""Seconds of short retries within one request."""
_CLAIMS = re.compile(r'claims="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request: SENT where the status is the expected one, and then the answer's JSON object."""

    outcome: Outcome
    content: dict[str, Any]


class GraphClient:
    """The mailbox at Graph. Safe for threads."""

    def __init__(
        self, http: httpx.Client, tokens: TokenCache, endpoint: str, throttle: Throttle,
        clock: Callable[[], float] = time.monotonic, permissions: Permissions | None = None,
    ) -> None:  # fmt: skip
        self._http = http
        self._tokens = tokens
        self._endpoint = endpoint
        self._throttle = throttle
        self._clock = clock
        self._permissions = permissions or Permissions(None, "")

    def send_mail(self, mailbox: str, body: bytes) -> Outcome:
        """Send a request made by message.request_body; return what came of it, after short retries."""
        return self.call("POST", f"/users/{quote(mailbox, safe='@')}/sendMail", body).outcome

    def send_mime(self, mailbox: str, message: bytes) -> Outcome:
        """Send a message in its MIME form."""
        body = base64.b64encode(message)
        return self.call("POST", f"/users/{quote(mailbox, safe='@')}/sendMail", body, kind="text/plain").outcome

    def send_large(self, mailbox: str, message: dict[str, Any], files: Sequence[tuple[Attachment, bool]]) -> Outcome:
        """Send a message with `files` (and whether each is inline) by way of a draft.

        The code NOT_WHOLE says that it cannot be done (that the app lacks Mail.ReadWrite is remembered), and nothing was sent.
        """
        if self._permissions.refused(MAIL_READ_WRITE):
            return NO_PERMISSION
        outcome = send_by_draft(self.call, self._put, f"/users/{quote(mailbox, safe='@')}", message, files)
        if outcome is NO_PERMISSION:
            self._permissions.refuse(MAIL_READ_WRITE)
        return outcome

    def was_sent(self, mailbox: str, message_id: str) -> bool:
        """Is a message with this Message-ID in Sent Items? False where it cannot be known: the app lacks Mail.ReadBasic
        (remembered), or Graph does not answer."""
        if self._permissions.refused(MAIL_READ_BASIC):
            return False
        query = quote(f"internetMessageId eq '{message_id.replace(chr(39), chr(39) * 2)}'")
        path = f"/users/{quote(mailbox, safe='@')}/mailFolders/sentitems/messages?$filter={query}&$select=id"
        reply = self.call("GET", path, b"", 200)
        if reply.outcome.code in ("ErrorAccessDenied", "NoPermissionsInAccessToken"):
            self._permissions.refuse(MAIL_READ_BASIC)
        found = reply.content.get("value")
        return isinstance(found, list) and bool(found)

    def forget_refusals(self) -> None:
        """Ask Entra and Graph again although they refused a moment ago."""
        self._tokens.forget_refusal()

    def forget_permissions(self) -> None:
        """Try again what Graph did not permit."""
        self._permissions.forget()

    def call(self, method: str, path: str, body: bytes = b"", expected: int = 202, kind: str = "application/json") -> Reply:
        """One request below the version, with its token and its short retries."""
        url = f"{self._endpoint}/v1.0{path}"
        end = self._clock() + RETRY_BUDGET
        backoff = tenacity.wait_random_exponential(multiplier=1.0, max=10.0)

        def wait(state: tenacity.RetryCallState) -> float:
            named = state.outcome.result().outcome.retry_after if state.outcome else 0.0
            return max(named or float(backoff(state)), self._throttle.remaining())

        def give_up(state: tenacity.RetryCallState) -> bool:
            return self._throttle.stopping() or self._clock() + state.upcoming_sleep > end

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda reply: reply.outcome.status is Status.TRANSIENT),
            wait=wait,
            stop=give_up,
            sleep=self._throttle.sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        reply: Reply = retrying(self._once, method, url, body, expected, kind)
        return reply

    def _once(self, method: str, url: str, body: bytes, expected: int, kind: str) -> Reply:
        if (paused := self._throttle.remaining()) > 0:
            return Reply(Outcome(Status.TRANSIENT, "Graph throttles this host", "Throttled", paused, shared=True), {})
        try:
            token = self._tokens.get()
            reply, challenge = self._exchange(method, url, body, token, expected, kind)
            if challenge is not None:
                token = self._tokens.replace(token, challenge or None)
                reply, _ = self._exchange(method, url, body, token, expected, kind)
            if reply.outcome.status is Status.HELD and reply.outcome.shared:
                self._tokens.forget(token)
        except CredentialError as error:
            reply = Reply(error.outcome, {})
        if reply.outcome.retry_after and reply.outcome.shared:
            self._throttle.pause(reply.outcome.retry_after)
        return reply

    def _exchange(
        self, method: str, url: str, body: bytes, token: Token, expected: int, kind: str
    ) -> tuple[Reply, str | None]:  # fmt: skip
        """What came of one exchange, and for a 401 the claims to ask a new token with (empty: none)."""
        headers = {"Authorization": f"Bearer {token.value}", "client-request-id": str(uuid.uuid4())}
        if body:
            headers["Content-Type"] = kind
        try:
            answer = request(self._http, method, url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Reply(judge_transport(error, url, proxied(self._http, url)), {}), None
        code, message = error_of(answer)
        request_id = answer.headers.get("request-id", "")[:64]
        if answer.status == expected:
            return Reply(Outcome(Status.SENT, request_id=request_id), _object(answer)), None
        outcome = judge_graph(
            answer.status if answer.status != 202 else 200, code, message,
            retry_after=retry_after_seconds(answer.headers), request_id=request_id,
        )  # fmt: skip
        return Reply(outcome, {}), claims_of(answer) if answer.status == 401 else None

    def _put(self, url: str, content: bytes, headers: dict[str, str]) -> Answer | None:
        """A part of an attachment to its upload session, whose URL is its own credential: no token goes there. None if the
        connection broke; with no content, ask how far it has come."""
        try:
            return request(self._http, "PUT" if content else "GET", url, content=content or None, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None


def _object(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


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
