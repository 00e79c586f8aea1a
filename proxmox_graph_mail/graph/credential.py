"""The app's credential: who it is, how it proves it, and when that ends. And the access token that it gets for it."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from proxmox_graph_mail import files
from proxmox_graph_mail.graph.cloud import Cloud


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and its end, in seconds since the epoch."""

    value: str
    expires: float

    def __repr__(self) -> str:
        return f"Token(…, expires={self.expires:.0f})"

    def claims(self) -> dict[str, Any]:
        """What it says of itself, for diagnosis alone (Entra calls it opaque); empty if it is of another form."""
        try:
            part = self.value.split(".")[1]
            decoded = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (IndexError, ValueError):
            return {}
        return decoded if isinstance(decoded, dict) else {}

    @property
    def roles(self) -> list[str]:
        """The application permissions in it."""
        listed = self.claims().get("roles")
        return [str(role) for role in listed] if isinstance(listed, list) else []


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
                proof = files.read_named(self.file)
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
        from cryptography import x509  # expensive to import, and only a certificate needs it

        try:
            return x509.load_pem_x509_certificate(files.read_named(self.file)).not_valid_after_utc.date()
        except (OSError, ValueError):
            return None
