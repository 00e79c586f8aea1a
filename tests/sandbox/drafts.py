"""Graph's half for large messages: drafts, attachments, upload sessions, send.

Rules from "Attach large files to Outlook messages" and "attachment: createUploadSession": Mail.ReadWrite; a request of 4 MB; below
3 MB in a request, from 3 MB by a session; ranges in order, of multiples of 320 KiB but the last, 4 MB at most, and no token at
the session's URL; the mailbox's own limit.
"""

import base64
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from jsonschema import Draft202012Validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.sandbox.graph import _REGISTRY, RECIPIENT_LIMIT, REQUEST_LIMIT, error, token_problem
from tests.sandbox.world import Draft, World

GRANULE = 320 * 1024
_MESSAGE = Draft202012Validator({"$ref": "urn:graph#/components/schemas/strict.message"}, registry=_REGISTRY)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def _too_large() -> Response:
    text = "The message exceeds the maximum supported size., Cannot save changes made to an item to store."
    return error(400, "ErrorMessageSizeExceeded", text)


async def _object(world: World, request: Request) -> tuple[Response | None, dict[str, Any]]:
    content = await request.body()
    problem = token_problem(world, request, "Mail.ReadWrite")
    if problem is not None:
        return problem, {}
    # Where a session begins later than most report, a request takes more too.
    more = world.session_from * 4 // 3 + 10_000 if world.session_from > 3_000_000 else 0
    if len(content) > (max(REQUEST_LIMIT, more) if world.request_limit == REQUEST_LIMIT else world.request_limit):
        return Response("<html>Request Entity Too Large</html>", 413, media_type="text/html"), {}
    try:
        return None, json.loads(content)
    except ValueError:
        return error(400, "UnableToDeserializePostBody", "were unable to deserialize "), {}


async def create(world: World, request: Request) -> Response:
    """POST /users/{mailbox}/messages."""
    world.counts.drafts += 1
    problem, message = await _object(world, request)
    if problem is not None:
        return problem
    mailbox = request.path_params["mailbox"]
    if mailbox.lower() not in world.mailboxes:
        return error(404, "ErrorInvalidUser", f"The requested user '{mailbox}' is invalid.")
    wrong = next(iter(_MESSAGE.iter_errors(message)), None)
    if wrong is not None:
        return error(400, "RequestBodyRead", wrong.message[:300])
    draft = Draft(mailbox, message | {"attachments": message.get("attachments", [])})
    if draft.size() > world.mailbox_limit:
        return _too_large()
    identifier = f"AAMk{uuid.uuid4().hex}="
    world.drafts[identifier] = draft
    return JSONResponse({"id": identifier, "isDraft": True}, 201)


async def attach(world: World, request: Request) -> Response:
    """POST …/attachments."""
    problem, file = await _object(world, request)
    if problem is not None:
        return problem
    draft = world.drafts.get(request.path_params["draft"])
    if draft is None:
        return error(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    if file.get("@odata.type") != "#microsoft.graph.fileAttachment" or not file.get("name"):
        return error(400, "RequestBodyRead", "no fileAttachment")
    size = len(base64.b64decode(file["contentBytes"], validate=True))
    if size >= world.session_from:
        return Response("<html>Request Entity Too Large</html>", 413, media_type="text/html")
    if draft.size() + size > world.mailbox_limit:
        return _too_large()
    draft.message["attachments"].append(file)
    return JSONResponse({"id": uuid.uuid4().hex}, 201)


async def session(world: World, request: Request) -> Response:
    """POST …/attachments/createUploadSession."""
    problem, asked = await _object(world, request)
    if problem is not None:
        return problem
    draft = world.drafts.get(request.path_params["draft"])
    if draft is None:
        return error(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    item = asked.get("AttachmentItem", {})
    if item.get("attachmentType") != "file" or not item.get("name") or not isinstance(item.get("size"), int):
        return error(400, "RequestBodyRead", "no attachmentItem")
    if item["size"] < world.session_from:
        return error(
            400, "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize", "Attachment size must be greater than the minimum size."
        )
    if draft.size() + item["size"] > world.mailbox_limit:
        return _too_large()
    name = uuid.uuid4().hex
    draft.sessions[name] = (item, bytearray())
    url = f"{world.endpoint}/upload/{request.path_params['draft']}/{name}"
    return JSONResponse({"uploadUrl": url, "expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": ["0-"]}, 201)


async def upload(world: World, request: Request) -> Response:
    """PUT and GET of the session's URL."""
    world.counts.uploads += 1
    if "authorization" in request.headers:
        world.counts.leaked += 1
        return error(401, "InvalidAudience", "no token here")
    draft = world.drafts.get(request.path_params["draft"])
    if draft is None or request.path_params["session"] not in draft.sessions:
        return error(404, "ErrorItemNotFound", "no such session")
    item, so_far = draft.sessions[request.path_params["session"]]
    if request.method == "PUT":
        content = await request.body()
        if len(content) > world.request_limit:
            return Response("<html>Request Entity Too Large</html>", 413, media_type="text/html")
        match = _RANGE.fullmatch(request.headers.get("content-range", ""))
        if not match or int(match[2]) - int(match[1]) + 1 != len(content) or int(match[3]) != item["size"]:
            return error(400, "InvalidContentRange", "Content-Range does not fit the content.")
        last = int(match[2]) + 1 == item["size"]
        if int(match[1]) != len(so_far) or len(content) > 4_000_000 or (len(content) % GRANULE and not last):
            return error(416, "InvalidRange", f"expected {len(so_far)}-")
        so_far += content
        if last:
            file = {"@odata.type": "#microsoft.graph.fileAttachment", "contentBytes": base64.b64encode(so_far).decode()}
            file |= {key: item[key] for key in ("name", "contentType", "isInline", "contentId") if key in item}
            draft.message["attachments"].append(file)
            del draft.sessions[request.path_params["session"]]
            return Response(status_code=201, headers={"Location": "https://graph.microsoft.com/attachment"})
    return JSONResponse({"nextExpectedRanges": [f"{len(so_far)}-"]})


async def send(world: World, request: Request) -> Response:
    """POST …/send."""
    problem = token_problem(world, request)
    if problem is not None:
        return problem
    draft = world.drafts.get(request.path_params["draft"])
    if draft is None:
        return error(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    people = [p for key in ("toRecipients", "ccRecipients", "bccRecipients") for p in draft.message.get(key, [])]
    if not people:
        return error(400, "ErrorInvalidRecipients", "The message contains no recipients.")
    if len(people) > RECIPIENT_LIMIT:
        return error(400, "ErrorRecipientLimitExceeded", "The recipient limit is exceeded.")
    del world.drafts[request.path_params["draft"]]
    request_id = str(uuid.uuid4())
    world.accept(draft.mailbox, {"message": draft.message}, request_id, request.headers.get("client-request-id", ""))
    return Response(status_code=202, headers={"request-id": request_id})


async def delete(world: World, request: Request) -> Response:
    """DELETE /users/{mailbox}/messages/{draft}."""
    problem = token_problem(world, request, "Mail.ReadWrite")
    if problem is not None:
        return problem
    if world.drafts.pop(request.path_params["draft"], None) is None:
        return error(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    return Response(status_code=204)


async def sent_items(world: World, request: Request) -> Response:
    """GET /users/{mailbox}/mailFolders/sentitems/messages?$filter=internetMessageId eq '…'."""
    refused = [token_problem(world, request, role) for role in ("Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite")]
    if all(problem is not None for problem in refused):
        assert refused[0] is not None
        return refused[0]
    match = re.fullmatch(r"internetMessageId eq '(.*)'", request.query_params.get("$filter", ""))
    if not match:
        return error(400, "ErrorInvalidUrlQueryFilter", "The query filter contains one or more invalid nodes.")
    wanted = match[1].replace("''", "'")
    found = [
        {
            "id": mail.request_id,
            "sentDateTime": datetime.fromtimestamp(mail.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **{kind: mail.message.get(kind, []) for kind in ("toRecipients", "ccRecipients", "bccRecipients")},
        }
        for mail in world.accepted
        if mail.save_to_sent_items
        and mail.mailbox == request.path_params["mailbox"]
        and mail.message.get("internetMessageId") == wanted
    ]
    return JSONResponse({"value": found})
