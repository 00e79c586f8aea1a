"""What the stand-in knows: the tenant, its app and mailboxes, tokens it issued, faults to come, mail it accepted."""

import asyncio
import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.sandbox.outbox import Outbox

TENANT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
TENANT_DOMAIN = "example.onmicrosoft.com"
CLIENT = "5d8f6f0e-54c1-4b4c-8f0a-2b2f0a4bd4f1"
APPLICATION = "0d9f1ea8-3c43-4d6a-9d0e-1b7a5a0c2f11"  # the object ID of the app registration
PRINCIPAL = "9f0b7d52-6a1e-4c7b-8b44-27d5c0a1e6aa"  # the object ID of its service principal, which a token's oid names
FEDERATION = {"issuer": "https://idp.example.com", "subject": "host:pve1", "audience": "api://AzureADTokenExchange"}


@dataclass
class Fault:
    """Something to go wrong: at `times` requests to `on` (sendMail, token, discovery, draft, attachment, session, upload, send, delete), once `after` of them went well.

    `do` is one of: status (with `status`, `code`, `retry_after`), hang (`seconds`), cut_before (the connection is cut when the
    request came, nothing is accepted), cut_after (accepted, then cut), status_after (accepted, then `status`), garbage (200 and
    HTML), giant (an answer without end), redirect (to a host that must never see the token), cae (401 with a claims challenge).
    """

    on: str
    do: str = "status"
    times: int = 1
    after: int = 0
    status: int = 503
    code: str = "ServiceUnavailable"
    message: str = ""
    retry_after: str = ""
    seconds: float = 30.0


@dataclass
class Accepted:
    """One accepted sendMail: the mailbox, the request, the time, and Graph's request-id."""

    mailbox: str
    message: dict[str, Any]
    save_to_sent_items: bool
    time: float
    request_id: str
    client_request_id: str


@dataclass
class Draft:
    """A message being made: its request, its attachments, and its upload sessions (name → description, bytes so far)."""

    mailbox: str
    message: dict[str, Any]
    sessions: dict[str, tuple[dict[str, Any], bytearray]] = field(default_factory=dict)

    def size(self) -> int:
        """Bytes of its attachments."""
        return sum(len(file["contentBytes"]) * 3 // 4 for file in self.message.get("attachments", []))


@dataclass
class Counts:
    """What a test asks about the traffic."""

    sendmail: int = 0
    token: int = 0
    discovery: int = 0
    drafts: int = 0
    uploads: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    connections: int = 0
    leaked: int = 0  # requests to the redirect's target that carried a token


@dataclass
class World:
    """All state; one event loop, so no locks."""

    folder: Path
    authority: str = ""  # Entra's base URL as clients see it
    endpoint: str = ""  # Graph's
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    secret_ended: bool = False
    certificates: dict[str, bytes] = field(default_factory=dict)  # x5t#S256 → PEM public key
    keys: dict[str, bytes] = field(default_factory=dict)  # keyId → DER of the app's certificates
    idp_key: bytes = b""  # the federated issuer's public key, PEM
    mailboxes: set[str] = field(default_factory=lambda: {"pve@example.com"})
    refused: set[str] = field(default_factory=set)  # addresses that Exchange does not take, though they look like some
    roles: list[str] = field(default_factory=lambda: ["Mail.Send"])
    scope: list[str] = field(default_factory=list)  # mailboxes that Exchange's RBAC lets the app use, in lower case
    token_life: int = 3599
    latency: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    drafts: dict[str, Draft] = field(default_factory=dict)
    session_from: int = 3_000_000  # bytes from which an attachment takes an upload session, and below which none is made
    request_limit: int = 4_000_000  # bytes of a request, or of what a proxy before Graph takes
    mailbox_limit: int = 35_000_000  # bytes of a message (MaxSendSize)
    accepted: list[Accepted] = field(default_factory=list)
    outboxes: dict[str, Outbox] = field(default_factory=dict)  # by mailbox: what Exchange does after the 202
    clock: float = 0.0  # seconds by which a test has moved the outboxes' clock on
    counts: Counts = field(default_factory=Counts)
    revoked: set[str] = field(default_factory=set)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    signing_key: str = field(default_factory=lambda: secrets.token_hex(32))

    def fault(self, on: str) -> Fault | None:
        """The fault that strikes this request, if one does."""
        for fault in self.faults:
            if fault.on == on and fault.after > 0:
                fault.after -= 1
                return None
            if fault.on == on:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def now(self) -> float:
        """By the clock that tests move."""
        return time.time() + self.clock

    def accept(self, mailbox: str, body: dict[str, Any], request_id: str, client_request_id: str) -> None:
        """Keep a mail, in memory and on disk."""
        mail = Accepted(mailbox, body["message"], body.get("saveToSentItems", True), time.time(), request_id, client_request_id)
        self.accepted.append(mail)
        kinds = ("toRecipients", "ccRecipients", "bccRecipients")
        people = sum(len(mail.message.get(kind, ())) for kind in kinds) or 1
        self.outboxes.setdefault(mailbox, Outbox()).take(str(mail.message.get("subject")), people, self.now())
        folder = self.folder / "accepted"
        folder.mkdir(exist_ok=True)
        name = f"{time.time_ns()}"  # it outlives a reset of the world
        (folder / f"{name}.json").write_text(json.dumps(asdict(mail), indent=1), "utf-8")
        content = mail.message.get("body", {}).get("content", "")
        (folder / f"{name}.html").write_text(content, "utf-8")
