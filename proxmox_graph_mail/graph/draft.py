"""A message that is larger than a request: made as a draft, its attachments added, sent. Needs Mail.ReadWrite.

    POST /messages                                 the draft, with the attachments that fit into its request
    POST /messages/ID/attachments                  those below 3 MB, one request each
    POST /messages/ID/attachments/createUploadSession, then PUT   the others, in ranges; after a cut from where it was
    POST /messages/ID/send                         202: sent

Up to the last step nothing is sent: whatever fails there is transient at worst, and the draft is deleted. An unclear
answer to the last is made clear by deleting the draft: not there (404) means that it was sent, deleted (204) that it was not.

Source: Graph, "Attach large files to Outlook messages", "message: send", "attachment: createUploadSession".
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from proxmox_graph_mail.errors import RefusedError, RequestError
from proxmox_graph_mail.graph.codes import NOT_PERMITTED, judge
from proxmox_graph_mail.graph.http import Answer
from proxmox_graph_mail.graph.message import encoded, file_attachment
from proxmox_graph_mail.graph.outcome import NOT_WHOLE, Outcome, Status
from proxmox_graph_mail.graph.permissions import REQUEST_LIMIT
from proxmox_graph_mail.graph.request import Graph, error_of, json_object, refused, request_id
from proxmox_graph_mail.message.mail import Attachment

SESSION_FROM = 3_000_000  # bytes from which an attachment needs an upload session
GRANULE = 320 * 1024  # bytes of which a range, but the last, must be a multiple
RESUMPTIONS = 5  # tries without progress after which an upload is given up
TOO_SMALL_FOR_SESSION = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"
TOO_LARGE = Outcome(Status.HELD, "to send it whole, raise the mailbox's limit (Set-Mailbox -MaxSendSize)", NOT_WHOLE)
NO_PERMISSION = Outcome(Status.HELD, "to send it whole, grant the application permission Mail.ReadWrite", NOT_WHOLE)


def send_by_draft(
    graph: Graph, mailbox: str, message: dict[str, Any], files: Sequence[tuple[Attachment, bool]], limit: int
) -> Outcome:
    """Send `message` with `files` (and whether each is inline), by requests of at most `limit` bytes. With the codes
    NOT_WHOLE and REQUEST_TOO_LARGE nothing was sent, nor can be this way.

    `mailbox` is the path of the mailbox.
    """
    first, rest = _that_fit(message, files, limit)
    try:
        identifier = json_object(graph.call("POST", f"{mailbox}/messages", first, expected=201)).get("id")
    except RequestError as error:
        return _not_sent(error)
    if not isinstance(identifier, str) or not identifier:
        return Outcome(Status.TRANSIENT, "Graph created a draft but returned no ID", "NoDraft")
    draft = f"{mailbox}/messages/{quote(identifier, safe='=')}"
    try:
        for attachment, inline in rest:
            _attach(graph, draft, attachment, limit, inline=inline)
    except RequestError as error:
        _delete(graph, draft)
        return _not_sent(error)
    try:
        return Outcome(Status.SENT, request_id=request_id(graph.call("POST", f"{draft}/send", expected=202)))
    except RequestError as error:
        deleted = _delete(graph, draft)
        return _after_an_unclear_answer(error, deleted) if error.uncertain else _not_sent(error)


def _after_an_unclear_answer(error: RequestError, deleted: RequestError | None) -> Outcome:
    """What the deletion of a draft tells about its being sent."""
    unclear = judge(error)
    if deleted is None:
        reason = "the answer was unclear; not sent, because its draft was still there"
        return replace(unclear, status=Status.TRANSIENT, reason=reason)
    if deleted.code == "ErrorItemNotFound":
        reason = "the answer was unclear; sent, because its draft is gone"
        return Outcome(Status.SENT, reason, request_id=unclear.request_id)
    return unclear


def _delete(graph: Graph, draft: str) -> RequestError | None:
    """Delete a draft; what kept it from being deleted."""
    try:
        graph.call("DELETE", draft, expected=204)
    except RequestError as error:
        return error
    return None


def _that_fit(
    message: dict[str, Any], files: Sequence[tuple[Attachment, bool]], limit: int
) -> tuple[bytes, list[tuple[Attachment, bool]]]:
    """The draft's request with as many of the files as fit, and the others."""
    room = limit - len(encoded(message)) - 10_000
    within, rest = [], []
    for attachment, inline in files:
        size = len(attachment.content) * 4 // 3 + len(attachment.name) * 6 + 400
        if size <= room:
            within.append(file_attachment(attachment, inline=inline))
            room -= size
        else:
            rest.append((attachment, inline))
    return encoded(message | {"attachments": within} if within else message), rest


def _attach(graph: Graph, draft: str, attachment: Attachment, limit: int, *, inline: bool) -> None:
    whole = encoded(file_attachment(attachment, inline=inline))
    if len(attachment.content) >= SESSION_FROM or len(whole) > limit:
        try:
            _attach_in_ranges(graph, draft, attachment, limit, inline=inline)
        except RefusedError as error:
            if error.code != TOO_SMALL_FOR_SESSION:  # where the limit lies is told differently; Graph knows its own
                raise
        else:
            return
    if len(whole) > limit < REQUEST_LIMIT:
        reason = f"to send it whole, let requests of {len(whole) // 1_000_000 + 1} MB pass the proxy or filter"
        raise RequestError(reason, NOT_WHOLE, temporary=False, shared=False)
    graph.call("POST", f"{draft}/attachments", whole, expected=201)


def _attach_in_ranges(graph: Graph, draft: str, attachment: Attachment, limit: int, *, inline: bool) -> None:
    described = file_attachment(replace(attachment, content=b""), inline=inline)
    item = {"attachmentType": "file", "size": len(attachment.content)}
    item |= {key: described[key] for key in ("name", "contentType", "isInline", "contentId") if key in described}
    answer = graph.call("POST", f"{draft}/attachments/createUploadSession", encoded({"AttachmentItem": item}), expected=201)
    url = str(json_object(answer).get("uploadUrl", ""))
    if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"):
        raise RequestError("Graph gave no https address to upload to", "NoUploadUrl", temporary=True, shared=False)
    _upload(graph, url, attachment.content, max(GRANULE, limit // GRANULE * GRANULE))


def _upload(graph: Graph, url: str, content: bytes, size: int) -> None:
    """The content in ranges of `size` bytes; what was cut goes on from where Graph says it was. An address that no
    way leads to is no reason to wait: the mail may be sent smaller."""
    at, total, stalls, answered = 0, len(content), 0, False
    while at < total:
        part = content[at : at + size]
        headers = {"Content-Range": f"bytes {at}-{at + len(part) - 1}/{total}", "Content-Type": "application/octet-stream"}
        answer = graph.upload(url, part, headers)
        if answer is not None and answer.status == 201:
            return
        if answer is not None and answer.status == 413:
            raise refused(answer)
        if answer is not None and 400 <= answer.status < 429:
            code = error_of(answer)[0] or "UploadRefused"
            reason = f"Graph refuses a part of an attachment (HTTP {answer.status} {code})"
            raise RequestError(reason, code, temporary=True, shared=False)
        if answer is None or answer.status >= 429:
            answer = graph.upload(url, b"", {})  # how far has it come?
        answered = answered or answer is not None
        before, at = at, _next(answer, at)
        stalls += at <= before
        if stalls > RESUMPTIONS and not answered:
            reason = f"to send it whole, allow access to {urlsplit(url).hostname}, where attachments are uploaded"
            raise RequestError(reason, NOT_WHOLE, temporary=False, shared=False)
        if stalls > RESUMPTIONS:
            reason = f"the upload of an attachment was interrupted {stalls} times"
            raise RequestError(reason, "UploadCut", temporary=True, shared=False)


def _next(answer: Answer | None, at: int) -> int:
    """Where the upload goes on: the first of nextExpectedRanges."""
    try:
        expected = json.loads(answer.content)["nextExpectedRanges"] if answer is not None else []
        return int(str(expected[0]).partition("-")[0])
    except (ValueError, KeyError, TypeError, IndexError):
        return at


def _not_sent(error: RequestError) -> Outcome:
    """What an error means where nothing was sent: an uncertain one is transient; two say that it cannot be done this way."""
    if error.code == "ErrorMessageSizeExceeded":
        return TOO_LARGE
    if error.code in NOT_PERMITTED:
        return NO_PERMISSION
    outcome = judge(error)
    return replace(outcome, status=Status.TRANSIENT) if outcome.status is Status.UNCERTAIN else outcome
