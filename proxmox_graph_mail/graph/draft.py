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
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from proxmox_graph_mail.graph.http import Answer
from proxmox_graph_mail.graph.message import REQUEST_LIMIT, file_attachment
from proxmox_graph_mail.graph.outcome import NOT_WHOLE, Outcome, Status
from proxmox_graph_mail.message.mail import Attachment

SESSION_FROM = 3_000_000
"""Bytes from which an attachment needs an upload session."""
RANGE = 12 * 320 * 1024
"""Bytes of one range: below 4 MB, and a multiple of 320 KiB as all ranges but the last must be."""
RESUMPTIONS = 5
"""Tries without progress after which an upload is given up."""
TOO_LARGE = Outcome(Status.HELD, "a higher limit of the mailbox (Set-Mailbox -MaxSendSize) would let it arrive whole", NOT_WHOLE)
NO_PERMISSION = Outcome(Status.HELD, "the application permission Mail.ReadWrite would let it arrive whole", NOT_WHOLE)


class Reply(Protocol):
    """What came of a request; see client.Reply."""

    @property
    def outcome(self) -> Outcome:
        """SENT where the status was the expected one."""

    @property
    def content(self) -> dict[str, Any]:
        """The answer's object."""


Call = Callable[[str, str, bytes, int], Reply]
Put = Callable[[str, bytes, dict[str, str]], Answer | None]


class _Failure(Exception):  # noqa: N818 - an outcome on its way out
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


def send_by_draft(
    call: Call, put: Put, mailbox: str, message: dict[str, Any], files: Sequence[tuple[Attachment, bool]]
) -> Outcome:  # fmt: skip
    """Send `message` with `files` (and whether each is inline). With the code NOT_WHOLE nothing was sent, nor can be this way.

    `call` makes a request below `mailbox`'s path, `put` one to an upload session.
    """
    first, rest = _that_fit(message, files)
    reply = call("POST", f"{mailbox}/messages", first, 201)
    if reply.outcome.status is not Status.SENT:
        return _not_sent(reply.outcome)
    if not isinstance(identifier := reply.content.get("id"), str) or not identifier:
        return Outcome(Status.TRANSIENT, "Graph made a draft and did not say which", "NoDraft")
    draft = f"{mailbox}/messages/{quote(identifier, safe='=')}"
    try:
        for attachment, inline in rest:
            _attach(call, put, draft, attachment, inline=inline)
    except _Failure as failure:
        call("DELETE", draft, b"", 204)
        return _not_sent(failure.outcome)
    outcome = call("POST", f"{draft}/send", b"", 202).outcome
    if outcome.status is Status.SENT:
        return outcome
    deleted = call("DELETE", draft, b"", 204).outcome
    if outcome.status is not Status.UNCERTAIN:
        return _not_sent(outcome)
    if deleted.status is Status.SENT:
        return replace(outcome, status=Status.TRANSIENT, reason=f"{outcome.reason}: not sent, for its draft was still there")
    if deleted.code == "ErrorItemNotFound":
        return Outcome(Status.SENT, "the answer was unclear; sent, for its draft is gone", request_id=outcome.request_id)
    return outcome


def _that_fit(message: dict[str, Any], files: Sequence[tuple[Attachment, bool]]) -> tuple[bytes, list[tuple[Attachment, bool]]]:
    """The draft's request with as many of the files as fit, and the others."""
    room = REQUEST_LIMIT - len(_bytes(message)) - 10_000
    within, rest = [], []
    for attachment, inline in files:
        size = len(attachment.content) * 4 // 3 + len(attachment.name) * 6 + 400
        if size <= room:
            within.append(file_attachment(attachment, inline=inline))
            room -= size
        else:
            rest.append((attachment, inline))
    return _bytes(message | {"attachments": within} if within else message), rest


def _attach(call: Call, put: Put, draft: str, attachment: Attachment, *, inline: bool) -> None:
    if len(attachment.content) < SESSION_FROM:
        reply = call("POST", f"{draft}/attachments", _bytes(file_attachment(attachment, inline=inline)), 201)
        if reply.outcome.status is not Status.SENT:
            raise _Failure(reply.outcome)
        return
    described = file_attachment(replace(attachment, content=b""), inline=inline)
    item = {"attachmentType": "file", "size": len(attachment.content)}
    item |= {key: described[key] for key in ("name", "contentType", "isInline", "contentId") if key in described}
    reply = call("POST", f"{draft}/attachments/createUploadSession", _bytes({"AttachmentItem": item}), 201)
    if reply.outcome.status is not Status.SENT:
        raise _Failure(reply.outcome)
    url = str(reply.content.get("uploadUrl", ""))
    if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"):
        raise _Failure(Outcome(Status.TRANSIENT, "Graph gave no https address to upload to", "NoUploadUrl"))
    _upload(put, url, attachment.content)


def _upload(put: Put, url: str, content: bytes) -> None:
    """The content in ranges; what was cut goes on from where Graph says it was. An address that no way leads to is no reason
    to wait: the mail may be sent smaller."""
    at, total, stalls, answered = 0, len(content), 0, False
    while at < total:
        part = content[at : at + RANGE]
        headers = {"Content-Range": f"bytes {at}-{at + len(part) - 1}/{total}", "Content-Type": "application/octet-stream"}
        answer = put(url, part, headers)
        if answer is not None and answer.status == 201:
            return
        if answer is not None and 400 <= answer.status < 429:
            reason = f"Graph refuses a part of an attachment (HTTP {answer.status} {_code(answer)})"
            raise _Failure(Outcome(Status.TRANSIENT, reason, _code(answer)))
        if answer is None or answer.status >= 429:
            answer = put(url, b"", {})  # how far has it come?
        answered = answered or answer is not None
        before, at = at, _next(answer, at)
        stalls += at <= before
        if stalls > RESUMPTIONS and not answered:
            reason = f"a way to {urlsplit(url).hostname}, where attachments are uploaded to, would let it arrive whole"
            raise _Failure(Outcome(Status.HELD, reason, NOT_WHOLE))
        if stalls > RESUMPTIONS:
            raise _Failure(Outcome(Status.TRANSIENT, f"the upload of an attachment was cut {stalls} times", "UploadCut"))


def _next(answer: Answer | None, at: int) -> int:
    """Where the upload goes on: the first of nextExpectedRanges."""
    try:
        expected = json.loads(answer.content)["nextExpectedRanges"] if answer is not None else []
        return int(str(expected[0]).partition("-")[0])
    except (ValueError, KeyError, TypeError, IndexError):
        return at


def _code(answer: Answer) -> str:
    try:
        return str(json.loads(answer.content)["error"]["code"])[:80]
    except (ValueError, KeyError, TypeError):
        return "UploadRefused"


def _not_sent(outcome: Outcome) -> Outcome:
    """What an answer means where nothing was sent: an uncertain one is transient; two say that it cannot be done this way."""
    if outcome.code == "ErrorMessageSizeExceeded":
        return TOO_LARGE
    if outcome.code in ("ErrorAccessDenied", "NoPermissionsInAccessToken"):
        return NO_PERMISSION
    return replace(outcome, status=Status.TRANSIENT) if outcome.status is Status.UNCERTAIN else outcome


def _bytes(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
