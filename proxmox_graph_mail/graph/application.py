"""An app's certificate, renewed by the app itself: addKey and removeKey with a proof signed by a key that is registered.

"An application does not need any specific permission to roll its own keys" (Graph, application: addKey). The proof is a JWT of
ten minutes: audience AUDIENCE, issuer the application's object ID, signed by a certificate that is registered and valid
(Graph, "Generating proof-of-possession tokens for rolling keys"; RS256 with x5t, as the samples that work have it).
"""

import base64
import json
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from msal.oauth2cli.assertion import JwtAssertionCreator

from proxmox_graph_mail.errors import RefusedError, SettingsError
from proxmox_graph_mail.graph.credential import Token
from proxmox_graph_mail.graph.request import Graph, json_object

AUDIENCE = "00000002-0000-0000-c000-000000000000"
PROOF_LIFE = 600  # seconds
WHERE = "the portal shows it under App registrations, the app, Overview, as Object ID (not under Enterprise applications)"
"""Where GRAPH_OBJECT_ID is found."""
_NO_REGISTRATION = f"there is no app registration with this Object ID: correct GRAPH_OBJECT_ID; {WHERE}"
_NOT_ITS_OWN = (
    "the app may change only its own keys: GRAPH_OBJECT_ID must be the Object ID of the app registration whose client ID is "
    f"GRAPH_CLIENT_ID; {WHERE}"
)
_PROOF = (
    "Graph does not accept the proof signed by the current certificate: is it registered with the app, and is this host's clock "
    "right?"
)
_POLICY = (
    "a policy of the tenant forbids this certificate: ask its administrator which lifetime and issuer are allowed, and upload a "
    "certificate of that kind by hand"
)
REFUSALS = {
    "Request_ResourceNotFound": _NO_REGISTRATION,
    "Authorization_RequestDenied": _NOT_ITS_OWN,
    "Authentication_MissingOrMalformed": _PROOF,
    "CredentialInvalidLifetimeAsPerAppPolicy": _POLICY,
    "CredentialTypeNotAllowedAsPerAppPolicy": _POLICY,
}
"""What Graph's codes mean for an app's keys; those of sendMail mean other things (codes.py)."""


def check_object_id(object_id: str, token: Token) -> None:
    """Raise SettingsError if GRAPH_OBJECT_ID is the service principal's: the commonest mistake, which a token's `oid` shows."""
    if object_id and object_id.lower() == str(token.claims().get("oid", "")).lower():
        raise SettingsError(
            f"GRAPH_OBJECT_ID: this is the enterprise application's Object ID, not the app registration's; {WHERE}"
        )


class Application:
    """The app registration at Graph, `object_id` its own."""

    def __init__(self, graph: Graph, object_id: str) -> None:
        self._graph = graph
        self._id = object_id

    def add_key(self, pem: bytes, der: bytes, now: float) -> str:
        """Register a certificate (DER), by a proof of the key in `pem`; the new key's ID. Raises RequestError, ValueError."""
        key = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(der).decode()}
        request = {"keyCredential": key, "passwordCredential": None, "proof": proof(pem, self._id, now)}
        return self._call("addKey", request, 200)

    def remove_key(self, pem: bytes, key_id: str, now: float) -> None:
        """Remove a key, by a proof of the key in `pem`; one that is gone counts as removed. Raises RequestError, ValueError."""
        try:
            self._call("removeKey", {"keyId": key_id, "proof": proof(pem, self._id, now)}, 204)
        except RefusedError as error:
            if error.http_status != 404:
                raise

    def try_renewal(self, pem: bytes, der: bytes, now: float) -> None:
        """Register a certificate (DER) by a proof of the key in `pem`, and remove it again. Raises RequestError, ValueError."""
        self.remove_key(pem, self.add_key(pem, der, now), now)

    def _call(self, verb: str, request: Mapping[str, object], expected: int) -> str:
        try:
            answer = self._graph.call("POST", f"/applications/{self._id}/{verb}", json.dumps(request).encode(), expected=expected)
        except RefusedError as error:
            meaning = REFUSALS.get(error.code) or {404: _NO_REGISTRATION, 403: _NOT_ITS_OWN}.get(error.http_status, "")
            error.args = (f"{meaning} ({error})" if meaning else str(error),)
            raise
        key_id = json_object(answer).get("keyId")
        return key_id if isinstance(key_id, str) else ""


def proof(pem: bytes, application: str, now: float) -> str:
    """Signed by the key in `pem`. Raises ValueError if there is none."""
    certificate = x509.load_pem_x509_certificates(pem)[0]
    digest = certificate.fingerprint(SHA1())  # noqa: S303 - x5t is SHA-1 by its definition (RFC 7515 4.1.7)
    x5t = base64.urlsafe_b64encode(digest).decode().rstrip("=")  # without padding (RFC 7515 2); MSAL's own has it
    signer = JwtAssertionCreator(pem.decode(), algorithm="RS256", headers={"x5t": x5t})
    made = signer.create_normal_assertion(AUDIENCE, application, not_before=int(now), expires_at=int(now) + PROOF_LIFE)
    return made.decode() if isinstance(made, bytes) else str(made)
