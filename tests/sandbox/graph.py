"""Graph's half: sendMail, with its schema, header, size, recipient, sender and concurrency rules.

The schema is openapi-sendmail.json beside this file (generated from Microsoft's metadata, MIT, with the service's own rules
in its strict part); the codes are those Graph answers with.
"""

import base64
import email
import email.policy
import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.sandbox.world import World

REQUEST_LIMIT = 4_000_000
MIME_LIMIT = 2_240_000  # bytes of a message in MIME form
RECIPIENT_LIMIT = 500
CONCURRENT = 4

_DOCUMENT = json.loads((Path(__file__).parent / "openapi-sendmail.json").read_text("utf-8"))
_REGISTRY: Any = Registry().with_resource("urn:graph", DRAFT202012.create_resource(_DOCUMENT))
_STRICT = Draft202012Validator({"$ref": "urn:graph#/components/schemas/strict.sendMailRequestBody"}, registry=_REGISTRY)
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error answer in Graph's form."""
    request_id = str(uuid.uuid4())
    inner = {"date": time.strftime("%Y-%m-%dT%H:%M:%S"), "request-id": request_id, "client-request-id": request_id}
    body = {"error": {"code": code, "message": message, "innerError": inner}}
    return JSONResponse(body, status, {"request-id": request_id, **(headers or {})})


def token_problem(world: World, request: Request, role: str = "Mail.Send") -> Response | None:
    """Why the access token does not do, in the order Graph looks."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not value:
        return error(401, "InvalidAuthenticationToken", "Access token is empty.")
    try:
        content = jwt.decode(value, world.signing_key, ["HS256"], audience=world.endpoint)
    except jwt.ExpiredSignatureError:
        return error(401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
    except jwt.InvalidTokenError:
        return error(401, "InvalidAuthenticationToken", "CompactToken parsing failed with error code: 80049217")
    if value in world.revoked:
        return error(401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
    by_exchange = request.path_params.get("mailbox", "").lower() in world.scope  # RBAC for Applications: the token does not tell
    if role and not by_exchange and (role not in content["roles"] or role not in world.roles):
        return error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
    return None


def mime_problem(world: World, mailbox: str, content: bytes) -> tuple[Response | None, dict[str, Any]]:
    """The MIME form: why it does not do, or the request with the bytes that would be delivered.

    As Graph is known to, it corrupts soft line breaks of quoted-printable parts that are followed by hex digits.
    """
    try:
        message = base64.b64decode(content, validate=True)
    except ValueError:
        return error(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content."), {}
    if len(message) > MIME_LIMIT:
        return error(400, "ErrorMimeContentInvalid", "Invalid MIME content."), {}
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    if parsed.defects or not message.strip():
        return error(400, "UnableToDeserializePostBody", "were unable to deserialize "), {}
    people = [a for name in ("to", "cc", "bcc") for field in parsed.get_all(name, []) for a in field.addresses]
    if not people or any("@" not in a.addr_spec for a in people):
        return error(400, "ErrorInvalidRecipients", "At least one recipient is not valid."), {}
    if len(people) > RECIPIENT_LIMIT:
        return error(400, "ErrorRecipientLimitExceeded", "The recipient limit is exceeded."), {}
    senders = [a.addr_spec.lower() for field in parsed.get_all("from", []) for a in field.addresses]
    if mailbox.lower() not in world.mailboxes:
        return error(404, "ErrorInvalidUser", f"The requested user '{mailbox}' is invalid."), {}
    if senders != [mailbox.lower()]:
        return error(403, "ErrorSendAsDenied", "The user account … does not have the right to send mail on behalf of …"), {}
    if b"quoted-printable" in message:
        message = re.sub(rb"=\r?\n(?=[0-9A-F]{2})", b"=", message)
    return None, {"message": {"subject": str(parsed["subject"]), "mime": message.decode("latin-1")}, "saveToSentItems": True}


def message_problem(world: World, mailbox: str, request: Request, content: bytes) -> tuple[Response | None, dict[str, Any]]:
    """Why the request does not do, in the order Graph looks; and the request."""
    if len(content) > world.request_limit:
        return Response("<html>Request Entity Too Large</html>", 413, media_type="text/html"), {}
    if request.headers.get("content-type", "").partition(";")[0] == "text/plain":
        return mime_problem(world, mailbox, content)
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return error(415, "RequestBodyRead", "A request body of this content type is not supported."), {}
    if not _GUID.fullmatch(request.headers.get("client-request-id", "")):
        return error(400, "SandboxStrict", "client-request-id is missing or no GUID"), {}
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("message"), dict):
        return error(400, "UnableToDeserializePostBody", "were unable to deserialize "), {}
    if mailbox.lower() not in world.mailboxes:
        return error(404, "ErrorInvalidUser", f"The requested user '{mailbox}' is invalid."), body
    message = body["message"]
    headers = message.get("internetMessageHeaders", [])
    if len(headers) > 5:
        text = "Maximum number of headers in one message should be less than or equal to 5."
        return error(400, "InvalidInternetMessageHeaderCollection", text), body
    for header in headers:
        if not str(header.get("name", "")).lower().startswith("x-"):
            text = f"The internet message header name '{header.get('name')}' should start with 'x-' or 'X-'."
            return error(400, "InvalidInternetMessageHeader", text), body
    people = [person for key in ("toRecipients", "ccRecipients", "bccRecipients") for person in message.get(key, [])]
    if not people:
        return error(400, "ErrorInvalidRecipients", "The message contains no recipients."), body
    if any(person.get("emailAddress", {}).get("address") in world.refused for person in people):
        return error(400, "ErrorInvalidRecipients", "At least one recipient is not valid."), body
    if len(people) > RECIPIENT_LIMIT:
        return error(400, "ErrorRecipientLimitExceeded", "The recipient limit is exceeded."), body
    problem = next(iter(sorted(_STRICT.iter_errors(body), key=lambda e: len(e.absolute_path))), None)
    if problem is not None:
        where = "/".join(str(step) for step in problem.absolute_path)
        if "Recipients" in where:
            return error(400, "ErrorInvalidRecipients", f"At least one recipient is not valid. ({where})"), body
        return error(400, "RequestBodyRead", f"{problem.message[:300]} ({where})"), body
    sender = message.get("from", {}).get("emailAddress", {}).get("address", mailbox)
    if sender.lower() != mailbox.lower():
        text = "The user account which was used to submit this request does not have the right to send mail on behalf of …"
        return error(403, "ErrorSendAsDenied", text), body
    return None, body
