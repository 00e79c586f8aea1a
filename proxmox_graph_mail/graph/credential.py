"""The app's credential: secret, certificate, federated assertion or managed identity → an access token, by MSAL.

Each acquisition asks Entra: keeping tokens is token_cache.py's. MSAL talks through the program's one HTTP client.
Its traps, dealt with here: it hands the client assertion over as bytes, which httpx would send as the text `b'…'`; it
logs the token endpoint's answer when that is no JSON; an unknown tenant comes as a bare ValueError from the discovery;
it wants https even of a loopback stand-in.
"""

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msal
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msal.oauth2cli import JwtAssertionCreator

from proxmox_graph_mail.graph.cloud import Cloud
from proxmox_graph_mail.graph.http import Answer, proxied, request
from proxmox_graph_mail.graph.outcome import Outcome, Status, judge_entra
from proxmox_graph_mail.graph.retry_after import seconds as retry_after_seconds
from proxmox_graph_mail.graph.transport import judge_transport

logging.getLogger("msal").setLevel(logging.CRITICAL + 1)  # its records can hold what the token endpoint answered


_TOKEN = re.compile(r"[!-~]+")  # what a header can carry


class CredentialError(Exception):
    """No token could be had; `outcome` says why and what that means for the mail."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and its end, in seconds since the epoch."""

    value: str
    expires: float

    def __repr__(self) -> str:
        return f"Token(…, expires={self.expires:.0f})"


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """Who the app is and how it proves it. `kind` is GRAPH_CREDENTIAL's value; the file is read at each acquisition."""

    cloud: Cloud
    tenant: str
    client: str
    kind: str
    secret: str = ""
    file: Path | None = None

    def __repr__(self) -> str:
        return f"Credential({self.kind}, tenant={self.tenant}, client={self.client})"

    @property
    def key(self) -> str:
        """What a cached token is kept under: cloud, tenant, client and a fingerprint of the credential.

        A federated assertion changes every hour by design, so its file's name stands for it.
        """
        proof = self.secret.encode()
        if self.kind == "certificate" and self.file:
            try:
                proof = self.file.read_bytes()
            except OSError:
                proof = b"unreadable"
        elif self.kind == "federated":
            proof = str(self.file).encode()
        fingerprint = hashlib.sha256(b"proxmox-graph-mail\0" + proof).hexdigest()[:32]
        return "|".join((self.cloud.authority, self.cloud.endpoint, self.tenant, self.client, self.kind, fingerprint))

    def ends(self) -> date | None:
        """The certificate's last day; None for other credentials, which only the tenant knows of, or an unreadable file."""
        if self.kind != "certificate" or self.file is None:
            return None
        try:
            return x509.load_pem_x509_certificate(self.file.read_bytes()).not_valid_after_utc.date()
        except (OSError, ValueError):
            return None

    def acquire(self, http: httpx.Client, now: float, claims: str | None = None) -> Token:
        """Ask for a new token; `claims` is the JSON of a CAE challenge. Raises CredentialError."""
        exchange = _Exchange(http, self.cloud.authority)
        try:
            answer = self._managed(exchange) if self.kind == "managed-identity" else self._confidential(exchange, claims, now)
        except CredentialError:
            raise
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            outcome = judge_transport(error, exchange.url, proxied(http, exchange.url))
            # Whatever broke off, it was no mail.
            status = Status.TRANSIENT if outcome.status is Status.UNCERTAIN else outcome.status
            reason = outcome.reason.removesuffix(": the mail may have been sent")
            raise CredentialError(Outcome(status, f"no access token: {reason}", outcome.code, shared=True)) from error
        except Exception as error:  # noqa: BLE001 - MSAL raises ValueError, RuntimeError, KeyError, its own: the answer tells
            raise CredentialError(exchange.judged(type(error).__name__)) from None
        token = answer.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise CredentialError(exchange.judged(str(answer.get("error", ""))))
        return Token(token, now + float(answer.get("expires_in", 0)))

    def _confidential(self, exchange: "_Exchange", claims: str | None, now: float) -> dict[str, Any]:
        authority = f"{self.cloud.authority}/{self.tenant}".replace("http://", "https://", 1)
        app = msal.ConfidentialClientApplication(
            self.client,
            client_credential=self._proof(now),
            authority=authority,
            http_client=exchange,
            instance_discovery=False,
            client_capabilities=["CP1"],  # continuous access evaluation: a revoked token is refused at once
        )
        answer: dict[str, Any] = app.acquire_token_for_client([self.cloud.scope], claims_challenge=claims)
        return answer

    def _proof(self, now: float) -> str | dict[str, str]:
        if self.kind == "secret":
            return self.secret
        text = _read(self.file, "GRAPH_CLIENT_CERTIFICATE" if self.kind == "certificate" else "GRAPH_FEDERATED_TOKEN_FILE")
        if self.kind == "federated":
            return {"client_assertion": text.strip()}
        key, thumbprint = _certificate(text, self.file)
        # MSAL takes a PEM file's SHA-1 thumbprint only; Entra asks for PS256 and x5t#S256 (certificate-credentials).
        assertion = JwtAssertionCreator(key, algorithm="PS256", sha256_thumbprint=thumbprint)
        token_endpoint = f"{self.cloud.authority}/{self.tenant}/oauth2/v2.0/token"
        return {"client_assertion": assertion.create_normal_assertion(token_endpoint, self.client, not_before=int(now))}

    def _managed(self, exchange: "_Exchange") -> dict[str, Any]:
        app = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=exchange)
        answer: dict[str, Any] = app.acquire_token_for_client(resource=self.cloud.endpoint)
        return answer


def _read(path: Path | None, key: str) -> str:
    try:
        if path is None:
            raise FileNotFoundError(2, "it is not set")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text file"
        raise CredentialError(Outcome(Status.HELD, f"cannot read {key} {path}: {reason}", key, shared=True)) from None


def _certificate(text: str, path: Path | None) -> tuple[str, str]:
    """The private key of a PEM file, and its certificate's SHA-256 thumbprint."""
    try:
        load_pem_private_key(text.encode(), password=None)
        certificates = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, TypeError) as error:  # TypeError: the key wants a password
        reason = "its private key wants a password" if isinstance(error, TypeError) else "no private key and certificate in it"
        explanation = f"cannot use GRAPH_CLIENT_CERTIFICATE {path}: {reason}; it is one PEM file with both"
        raise CredentialError(Outcome(Status.HELD, explanation, "certificate", shared=True)) from None
    return text, certificates[0].fingerprint(SHA256()).hex()


class _Exchange:
    """MSAL's http_client interface over ours; remembers the last answer, which tells more than MSAL's exceptions."""

    def __init__(self, http: httpx.Client, authority: str) -> None:
        self._http = http
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
        """The client is shared; closing it is its owner's."""

    def judged(self, error: str) -> Outcome:
        """The outcome of the last answer."""
        if self.last is None:
            return Outcome(Status.HELD, f"no access token: MSAL refuses the settings ({error})", error, shared=True)
        try:
            body = json.loads(self.last.text)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            status = self.last.status
            return Outcome(
                Status.TRANSIENT,
                f"no access token: {urlsplit(self.url).hostname} gave no answer of Entra's (HTTP {status}): is a proxy there?",
                str(status), retry_after_seconds(self.last.headers), shared=True,
            )  # fmt: skip
        return judge_entra(
            self.last.status, str(body.get("error", error)), str(body.get("error_description", "")),
            retry_after=retry_after_seconds(self.last.headers),
        )  # fmt: skip

    def _request(self, method: str, url: str, **parts: Any) -> "_Response":
        if self._plain:
            url = url.replace(f"https:{self._plain}", f"http:{self._plain}", 1)
        self.url = url
        self.last = request(self._http, method, url, **parts)
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
