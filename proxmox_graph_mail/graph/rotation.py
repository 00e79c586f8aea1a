"""An app's certificate, renewed by the app itself: addKey and removeKey with a proof signed by a key that is registered.

"An application does not need any specific permission to roll its own keys" (Graph, application: addKey). The proof is a JWT of
ten minutes: audience AUDIENCE, issuer the application's object ID, signed by a certificate that is registered and valid
(Graph, "Generating proof-of-possession tokens for rolling keys"; RS256 with x5t, as the samples that work have it).
"""

import base64
import json

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from msal.oauth2cli.assertion import JwtAssertionCreator

from proxmox_graph_mail.graph.client import GraphClient
from proxmox_graph_mail.graph.outcome import Outcome

AUDIENCE = "00000002-0000-0000-c000-000000000000"
PROOF_LIFE = 600
"""Seconds."""


def proof(pem: bytes, application: str, now: float) -> str:
    """Signed by the key in `pem`. Raises ValueError if there is none."""
    certificate = x509.load_pem_x509_certificates(pem)[0]
    thumbprint = certificate.fingerprint(SHA1()).hex()  # noqa: S303 - x5t is SHA-1 by its definition (RFC 7515 4.1.7)
    signer = JwtAssertionCreator(pem.decode(), algorithm="RS256", sha1_thumbprint=thumbprint)
    made = signer.create_normal_assertion(AUDIENCE, application, not_before=int(now), expires_at=int(now) + PROOF_LIFE)
    return made.decode() if isinstance(made, bytes) else str(made)


class Application:
    """The app registration at Graph, `object_id` its own."""

    def __init__(self, client: GraphClient, object_id: str) -> None:
        self._client = client
        self._id = object_id

    def add_key(self, pem: bytes, der: bytes, now: float) -> tuple[Outcome, str]:
        """Register a certificate (DER), by a proof of the key in `pem`; what came of it, and the new key's ID."""
        key = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(der).decode()}
        request = {"keyCredential": key, "passwordCredential": None, "proof": proof(pem, self._id, now)}
        reply = self._client.call("POST", f"/applications/{self._id}/addKey", json.dumps(request).encode(), 200)
        found = reply.content.get("keyId")
        return reply.outcome, found if isinstance(found, str) else ""

    def remove_key(self, pem: bytes, key_id: str, now: float) -> Outcome:
        """Remove a key, by a proof of the key in `pem`."""
        request = {"keyId": key_id, "proof": proof(pem, self._id, now)}
        return self._client.call("POST", f"/applications/{self._id}/removeKey", json.dumps(request).encode(), 204).outcome
