"""Entra's token endpoint: a credential → an access token, by MSAL.

Each acquisition asks Entra: keeping tokens is token_cache.py's. MSAL talks through the program's one HTTP client. Its app
object is kept, so that the tenant's discovery document is asked for once in a process. Its traps, dealt with here: it hands the
client assertion over as bytes, which httpx would send as the text `b'…'`; it logs the token endpoint's answer when that is no
JSON; an unknown tenant comes as a bare ValueError from the discovery; it wants https even of a loopback stand-in; it keeps
tokens itself.
"""

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proxmox_graph_mail import files
from proxmox_graph_mail.errors import ConnectionFailedError, CredentialError
from proxmox_graph_mail.graph.codes import no_token
from proxmox_graph_mail.graph.credential import Credential, Token
from proxmox_graph_mail.graph.http import Answer, Wire
from proxmox_graph_mail.graph.retry_after import seconds as retry_after_seconds

_TOKEN = re.compile(r"[!-~]+")  # what a header can carry


class TokenEndpoint:
    """Where one credential gets its tokens. MSAL and cryptography are loaded when the first is wanted."""

    def __init__(self, credential: Credential, wire: Wire) -> None:
        self.credential = credential
        self._exchange = _Exchange(wire, credential.cloud.authority)
        self._app: Any = None
        self._answers: dict[str, Any] = {}  # MSAL's memory of answers, by which it would answer for Entra

    def acquire(self, now: float, claims: str | None = None) -> Token:
        """Ask for a new token; `claims` is the JSON of a CAE challenge. Raises CredentialError."""
        self._exchange.last = None
        try:
            answer = self._managed() if self.credential.kind == "managed-identity" else self._confidential(claims)
        except CredentialError:
            raise
        except ConnectionFailedError as error:
            # Whatever broke off, it was no mail.
            raise CredentialError(
                f"no access token: {error}", error.code, temporary=error.temporary, retry_after=error.retry_after
            ) from error
        except Exception as error:  # noqa: BLE001 - MSAL raises ValueError, RuntimeError, KeyError, its own: the answer tells
            raise self._exchange.no_token(type(error).__name__) from None
        token = answer.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._exchange.no_token(str(answer.get("error", "")))
        return Token(token, now + float(answer.get("expires_in", 0)))

    def _confidential(self, claims: str | None) -> dict[str, Any]:
        self._answers.clear()
        if self._app is None:
            msal = _msal()
            who = self.credential
            self._app = msal.ConfidentialClientApplication(
                who.client,
                # An assertion is made anew for each request: its file may be another by then, and it lives for minutes.
                client_credential=who.secret if who.kind == "secret" else {"client_assertion": self._assertion},
                authority=f"{who.cloud.authority}/{who.tenant}".replace("http://", "https://", 1),
                http_client=self._exchange,
                instance_discovery=False,
                http_cache=self._answers,
                client_capabilities=["CP1"],  # continuous access evaluation: a revoked token is refused at once
            )
        self._app.remove_tokens_for_client()  # it would give the last one again, which Graph may have refused
        answer: dict[str, Any] = self._app.acquire_token_for_client([self.credential.cloud.scope], claims_challenge=claims)
        return answer

    def _assertion(self) -> str | bytes:
        who = self.credential
        if who.kind == "federated":
            return _read(who.file, "GRAPH_FEDERATED_TOKEN_FILE").strip()
        key = _read(who.file, "GRAPH_CLIENT_CERTIFICATE")
        from msal.oauth2cli import JwtAssertionCreator

        from proxmox_graph_mail.graph import certificate

        try:
            thumbprint = certificate.read(key.encode()).fingerprint
        except ValueError as error:
            reason = f"cannot use GRAPH_CLIENT_CERTIFICATE {who.file}: {error}"
            raise CredentialError(reason, "certificate", temporary=False) from None
        # MSAL takes a PEM file's SHA-1 thumbprint only; Entra asks for PS256 and x5t#S256 (certificate-credentials).
        creator = JwtAssertionCreator(key, algorithm="PS256", sha256_thumbprint=thumbprint)
        audience = f"{who.cloud.authority}/{who.tenant}/oauth2/v2.0/token"
        made: str | bytes = creator.create_normal_assertion(audience, who.client, not_before=int(time.time()))
        return made

    def _managed(self) -> dict[str, Any]:
        msal = _msal()
        app = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=self._exchange)
        answer: dict[str, Any] = app.acquire_token_for_client(resource=self.credential.cloud.endpoint)
        return answer


def _msal() -> Any:
    import logging

    import msal

    logging.getLogger("msal").setLevel(logging.CRITICAL + 1)  # its records can hold what the token endpoint answered
    return msal


def _read(path: Path | None, key: str) -> str:
    if path is None:
        raise CredentialError(f"{key} is not set", key, temporary=False)
    try:
        return files.read_named(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise CredentialError(f"cannot read {key} {path}: {reason}", key, temporary=False) from None


class _Exchange:
    """MSAL's http_client interface over ours; remembers the last answer, which tells more than MSAL's exceptions."""

    def __init__(self, wire: Wire, authority: str) -> None:
        self._wire = wire
        url = urlsplit(authority)
        self._plain = f"//{url.netloc}/" if url.scheme == "http" else ""
        self.url = authority
        self.last: Answer | None = None

    def get(self, url: str, *, params: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> "_Response":
        return self._request("GET", url, params=params, headers=headers)

    def post(
        self, url: str, *, params: dict[str, str] | None = None, data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> "_Response":  # fmt: skip
        form = {key: value.decode() if isinstance(value, bytes) else str(value) for key, value in (data or {}).items()}
        return self._request("POST", url, params=params, data=form, headers=headers)

    def close(self) -> None:
        """The wire is shared; closing it is its owner's."""

    def no_token(self, error: str) -> CredentialError:
        """What the last answer means."""
        if self.last is None:
            return CredentialError(f"no access token: MSAL refuses the settings ({error})", error, temporary=False)
        try:
            body = json.loads(self.last.text)
        except ValueError:
            body = None
        wait = retry_after_seconds(self.last.headers)
        if not isinstance(body, dict):
            status, host = self.last.status, urlsplit(self.url).hostname
            return CredentialError(
                f"no access token: {host} did not answer like Entra (HTTP {status}); is a proxy in between?", str(status),
                temporary=True, retry_after=wait,
            )  # fmt: skip
        description = str(body.get("error_description", ""))
        return no_token(self.last.status, str(body.get("error", error)), description, retry_after=wait)

    def _request(self, method: str, url: str, **parts: Any) -> "_Response":
        if self._plain:
            url = url.replace(f"https:{self._plain}", f"http:{self._plain}", 1)
        self.url = url
        self.last = self._wire.request(method, url, **parts)
        text = self.last.text
        return _Response(self.last, text.replace(f"http:{self._plain}", f"https:{self._plain}") if self._plain else text)


class _Response:
    """An answer as MSAL wants it."""

    def __init__(self, answer: Answer, text: str) -> None:
        self.status_code = answer.status
        self.headers = dict(answer.headers)
        self.text = text

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise ValueError(f"HTTP {self.status_code}")
