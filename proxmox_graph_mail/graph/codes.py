"""What Microsoft's error codes mean: one row a code, with the sentence for the admin; and what each makes of a mail.

An unknown code goes by its HTTP status: `_by_http_status`. docs/outcomes.md shows these rows (`make docs`).

Sources: Graph, "Error responses and resource types"; Entra, "Authentication and authorization error codes".
"""

import re
from dataclasses import dataclass

from proxmox_graph_mail.errors import ConnectionFailedError, CredentialError, RefusedError, RequestError
from proxmox_graph_mail.graph.outcome import NOT_GRAPH, REQUEST_TOO_LARGE, Outcome, Status


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what a code means and what to do about it."""

    status: Status
    meaning: str
    remedy: str = ""
    second_chance: bool = False

    @property
    def sentence(self) -> str:
        """Meaning and remedy as one sentence."""
        return f"{self.meaning}: {self.remedy}" if self.remedy else self.meaning


_T, _U, _H, _F = Status.TRANSIENT, Status.UNCERTAIN, Status.HELD, Status.FAILED
_BUSY = Row(_T, "Exchange Online is busy")
_NO_MAILBOX = Row(_H, "there is no such mailbox in the tenant", "check GRAPH_SENDER, and that GRAPH_TENANT_ID is its tenant")
_BAD_MIME = Row(_F, "Graph cannot read the message's MIME form")
_SENDER_BLOCKED = Row(_H, "Exchange blocks the mailbox from sending", "see Restricted entities in the Defender portal")

_REFUSED_ELSEWHERE = Row(
    _H, "something between this host and Graph refuses the mail's content", "ask whoever runs the proxy or filter to let it pass"
)
_ANSWERED_ELSEWHERE = Row(_H, "something other than Graph answers", "check GRAPH_ENDPOINT and the proxy")

GRAPH: dict[str, Row] = {
    "ErrorMimeContentInvalidBase64String": _BAD_MIME,
    "ErrorMimeContentInvalid": _BAD_MIME,
    "ErrorMimeContentConversionFailed": _BAD_MIME,
    "InvalidInternetMessageHeader": Row(_F, "Graph refuses a header of the message"),
    "InvalidInternetMessageHeaderCollection": Row(_F, "Graph refuses the number of headers of the message"),
    "ErrorInvalidRecipients": Row(_F, "Graph refuses a recipient's address", "correct it where the mail comes from"),
    "ErrorRecipientLimitExceeded": Row(_F, "the message has more recipients than the mailbox may address"),
    "ErrorExceededMaxRecipientLimit": Row(_F, "the message has more recipients than the mailbox may address"),
    "UnableToDeserializePostBody": Row(_F, "Graph cannot read the request", "please report this", second_chance=True),
    "RequestBodyRead": Row(_F, "Graph does not know a property of the request", "is GRAPH_CLOUD right? else please report this"),
    "ErrorMessageSizeExceeded": Row(
        _F, "the message is larger than the mailbox may send", "raise it: Set-Mailbox -MaxSendSize, then queue retry"
    ),
    "ErrorInvalidSender": Row(_H, "Graph refuses the sender", "GRAPH_SENDER must be the mailbox's own address"),
    "InvalidAuthenticationToken": Row(
        _H, "Graph refuses the access token", "check this host's clock, GRAPH_CLOUD and that GRAPH_ENDPOINT belongs to it"
    ),
    "NoPermissionsInAccessToken": Row(
        _H, "the app has no permission at all", "grant it the application permission Mail.Send, with admin consent"
    ),
    "ErrorAccessDenied": Row(
        _H,
        "the app may not send as this mailbox",
        "grant the application permission Mail.Send with admin consent, or put the mailbox into the app's RBAC scope "
        "(Exchange takes up to 2 hours to notice)",
    ),
    "ExtensionError": Row(_H, "a policy of Exchange refuses the app", "look at its application access policies and RBAC scopes"),
    "ErrorSendAsDenied": Row(
        _H, "the mailbox may not send with this From", "GRAPH_SENDER must be the mailbox's own address, not an alias of another"
    ),
    "Authorization_RequestDenied": Row(_H, "Graph denies the app this request", "grant the application permission Mail.Send"),
    "ErrorMessageSubmissionBlocked": _SENDER_BLOCKED,
    "ErrorExceededMessageLimit": Row(_H, "the mailbox's daily sending limit is reached", "wait; the mail is retried"),
    "ErrorAccountSuspend": _SENDER_BLOCKED,
    "ErrorMessageBlocked": _SENDER_BLOCKED,
    "ErrorSubmissionQuotaExceeded": Row(_T, "the mailbox's daily sending limit is reached"),
    "ErrorInvalidUser": _NO_MAILBOX,
    "MailboxNotEnabledForRESTAPI": Row(
        _H,
        "the sender has no active mailbox in Exchange Online",
        "give it a licence, make it a shared mailbox, or choose another",
    ),
    "ResourceNotFound": _NO_MAILBOX,
    "Request_ResourceNotFound": _NO_MAILBOX,
    "ErrorNonExistentMailbox": _NO_MAILBOX,
    "MailboxNotSupportedForRESTAPI": Row(
        _H,
        "the sender's mailbox is not in Exchange Online, or of a kind that Graph does not serve",
        "move it to Exchange Online, or choose another",
    ),
    "ErrorMailboxNotFound": _NO_MAILBOX,
    "OrganizationFromTenantGuidNotFound": Row(
        _H, "the tenant has no Exchange Online organisation", "check GRAPH_TENANT_ID and GRAPH_CLOUD, and that it has a licence"
    ),
    "ErrorItemNotFound": Row(_F, "the draft is gone"),
    "ApplicationThrottled": Row(_T, "Graph throttles the app"),
    "TooManyRequests": Row(_T, "Graph throttles the app"),
    "ErrorInternalServerError": Row(_U, "Exchange Online failed"),
    "UnknownError": Row(_U, "Graph's gateway failed"),
    "ErrorServerBusy": _BUSY,
    "ServiceUnavailable": _BUSY,
    "serviceNotAvailable": _BUSY,
    "ErrorMailboxStoreUnavailable": Row(_T, "the mailbox's store is unavailable"),
    "ErrorMailboxMoveInProgress": Row(_T, "the mailbox is being moved"),
    "ErrorInternalServerTransientError": _BUSY,
    "ErrorADOperation": _BUSY,
    "ErrorADUnavailable": _BUSY,
    "ErrorConnectionFailed": _BUSY,
    "ErrorInsufficientResources": _BUSY,
    "ErrorCrossSiteRequest": _BUSY,
    "ErrorExceededConnectionCount": _BUSY,
    "ErrorNotEnoughMemory": _BUSY,
    "ErrorStaleObject": _BUSY,
    "ErrorTooManyObjectsOpened": _BUSY,
    "ErrorItemSavePropertyError": _BUSY,
    "ErrorTimeoutExpired": Row(_U, "Exchange Online took too long"),
    "ErrorQuotaExceeded": Row(
        _H, "the sending mailbox is full", "empty its Sent Items, and leave GRAPH_SAVE_TO_SENT_ITEMS false"
    ),
}
"""Codes of Graph and Exchange, as `error.code` has them."""

_WRONG_TENANT = "check GRAPH_TENANT_ID and GRAPH_CLOUD"
_CERTIFICATE = "upload this certificate to the app registration, or renew it there and here"
_FEDERATION = "compare issuer, subject and audience with the app's federated credential"
_CONSENT = "let an administrator grant consent to the app's permissions"
_RESTRICTED = "ask whoever runs the proxy to allow it (tenant restrictions, Restrict-Access-To-Tenants)"
_CONDITIONAL = "exclude the app, or this host's address, from the Conditional Access policy"

ENTRA: dict[int, Row] = {
    90002: Row(_H, "Entra does not know the tenant", _WRONG_TENANT),
    900023: Row(_H, "GRAPH_TENANT_ID is neither a GUID nor a domain of the tenant", _WRONG_TENANT),
    50059: Row(_H, "the request names no tenant", _WRONG_TENANT),
    50128: Row(_H, "the request names no tenant", _WRONG_TENANT),
    90019: Row(_H, "the request names no tenant", _WRONG_TENANT),
    90038: Row(_H, "the tenant lives in another national cloud", "set GRAPH_CLOUD"),
    900382: Row(_H, "the tenant lives in another national cloud", "set GRAPH_CLOUD"),
    900432: Row(_H, "the tenant lives in another national cloud", "set GRAPH_CLOUD"),
    700016: Row(_H, "the app is not in this tenant", "check GRAPH_CLIENT_ID and GRAPH_TENANT_ID"),
    7000229: Row(_H, "the app has no enterprise application in this tenant", "grant admin consent once, which creates it"),
    7000112: Row(_H, "the app is disabled", "enable sign-in in its enterprise application"),
    70001: Row(_H, "the app is disabled", "enable sign-in in its enterprise application"),
    7000215: Row(_H, "the client secret is wrong", "set GRAPH_CLIENT_SECRET to the secret's Value, not its ID"),
    7000222: Row(_H, "the client secret has expired", "make a new one in the app registration and set GRAPH_CLIENT_SECRET"),
    70002: Row(_H, "the client secret is wrong", "set GRAPH_CLIENT_SECRET to the secret's Value, not its ID"),
    700025: Row(
        _H, "the app is a public client, which has no secret", "switch off Allow public client flows in the app registration"
    ),
    7000218: Row(_H, "no secret or assertion was sent", "set GRAPH_CLIENT_SECRET or another credential"),
    700027: Row(_H, "Entra does not accept the certificate's signature", _CERTIFICATE),
    50012: Row(_H, "Entra does not accept the certificate's signature", _CERTIFICATE),
    50027: Row(_H, "Entra cannot read the assertion", _CERTIFICATE),
    50032: Row(_H, "the certificate's RSA key is too weak", _CERTIFICATE),
    50048: Row(_H, "the assertion's subject and issuer differ", _FEDERATION),
    900384: Row(_H, "Entra does not accept the assertion's signature", _CERTIFICATE),
    700030: Row(_H, "Entra does not accept the certificate", _CERTIFICATE),
    700024: Row(_H, "the assertion is outside its time range", "check this host's clock, and that the assertion file is fresh"),
    70021: Row(_H, "no federated credential matches the assertion", _FEDERATION),
    700211: Row(_H, "no federated credential matches the assertion's issuer", _FEDERATION),
    700212: Row(_H, "no federated credential matches the assertion's audience", _FEDERATION),
    700213: Row(_H, "no federated credential matches the assertion's subject", _FEDERATION),
    65001: Row(_H, "the app's permissions have no consent", _CONSENT),
    650056: Row(_H, "the app's permissions are not configured", _CONSENT),
    650057: Row(_H, "the app does not list Microsoft Graph among its permissions", _CONSENT),
    700011: Row(_H, "the app is not in this tenant", "check GRAPH_CLIENT_ID and GRAPH_TENANT_ID"),
    650052: Row(_H, "the tenant has no service that the app asks for", "give the tenant an Exchange Online licence"),
    70011: Row(_H, "Entra refuses the scope", "check GRAPH_ENDPOINT"),
    1002012: Row(_H, "Entra refuses the scope", "check GRAPH_ENDPOINT"),
    500011: Row(_H, "Entra does not know Graph under this address in this tenant", "check GRAPH_CLOUD and GRAPH_ENDPOINT"),
    53003: Row(_H, "Conditional Access blocks the app", _CONDITIONAL),
    530032: Row(_H, "Conditional Access blocks the app", _CONDITIONAL),
    530035: Row(_H, "the tenant's security defaults block the app", "see the sign-in log of its enterprise application"),
    500021: Row(_H, "a proxy on the way lets nobody into this tenant", _RESTRICTED),
    500022: Row(_H, "a proxy on the way lets nobody into this tenant", _RESTRICTED),
    1000031: Row(_H, "the app cannot be used at this time", "ask the tenant's administrator"),
    50194: Row(_H, "the app belongs to one tenant", "set GRAPH_TENANT_ID to it, not to common"),
    50033: Row(_T, "Entra is unavailable"),
    90006: Row(_T, "Entra is unavailable"),
    90012: Row(_T, "Entra is unavailable"),
    90024: Row(_T, "Entra is unavailable"),
    90033: Row(_T, "Entra is unavailable"),
    90055: Row(_T, "Entra is busy"),
    90090: Row(_T, "Entra is unavailable"),
    90091: Row(_T, "Entra is unavailable"),
    50196: Row(_T, "Entra sees a loop of token requests", "is the token cache writable?"),
}
"""AADSTS codes of Entra's token endpoint."""

LOOP_PAUSE = 60.0  # seconds to wait at least after AADSTS50196

THROTTLING = frozenset(
    ("ApplicationThrottled", "TooManyRequests", "ErrorServerBusy", "ServiceUnavailable", "serviceNotAvailable",
     "ErrorSubmissionQuotaExceeded")
)  # fmt: skip
"""Codes that every other request would meet too."""
NO_MAILBOX = frozenset(
    (*(code for code, row in GRAPH.items() if row is _NO_MAILBOX), "MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI")
)
"""Codes that say: GRAPH_SENDER is no mailbox that can send."""
NOT_PERMITTED = ("ErrorAccessDenied", "NoPermissionsInAccessToken")
"""Codes that say: this app lacks the permission for this request."""
GATEWAY = (500, 502, 504)  # HTTP statuses of a gateway that may have passed the request on, whatever its code says
_AADSTS = re.compile(r"AADSTS(\d{4,8})")


def graph_row(http_status: int, code: str) -> Row:
    """What Graph's answer means, for any request."""
    row = GRAPH.get(code) or _by_http_status(http_status, code)
    if row.status is Status.TRANSIENT and http_status in GATEWAY:
        return Row(Status.UNCERTAIN, row.meaning, row.remedy)
    return row


def judge(error: RequestError) -> Outcome:
    """What a request that failed makes of the mail that it was to send."""
    if isinstance(error, RefusedError):
        row = graph_row(error.http_status, error.code)
        said = (
            f"HTTP {error.http_status}{f' {error.code}' if error.code else ''}{f', {error.words[:200]}' if error.words else ''}"
        )
        too_large = error.http_status == 413 or error.code == "ErrorMessageSizeExceeded"
        elsewhere = not error.code and row in (_REFUSED_ELSEWHERE, _ANSWERED_ELSEWHERE)
        code = NOT_GRAPH if elsewhere else REQUEST_TOO_LARGE if too_large else error.code or str(error.http_status)
        return Outcome(
            row.status, f"{row.sentence} ({said})", code, error.retry_after,
            error.shared or (row.status is Status.HELD and not too_large and not elsewhere),
            row.second_chance, error.request_id,
        )  # fmt: skip
    if isinstance(error, ConnectionFailedError) and error.uncertain:
        return Outcome(Status.UNCERTAIN, f"{error}: the mail may have been sent", error.code)
    status = Status.TRANSIENT if error.temporary else Status.HELD
    return Outcome(status, str(error), error.code, error.retry_after, error.shared)


def no_token(http_status: int, error: str, description: str, *, retry_after: float = 0.0) -> CredentialError:
    """What a token request that gave no token means; it concerns every request."""
    match = _AADSTS.search(description)
    number = int(match[1]) if match else 0
    row = ENTRA.get(number)
    if row is None:
        busy = http_status == 429 or http_status >= 500 or error in ("temporarily_unavailable", "server_error")
        row = (
            Row(Status.TRANSIENT, "Entra is unavailable") if busy
            else Row(Status.HELD, "Entra refuses the credential", "look the code up at https://login.microsoftonline.com/error")
        )  # fmt: skip
    said = f"AADSTS{number}" if number else " ".join(word for word in (f"HTTP {http_status}", error) if word)
    if number == 50196:
        retry_after = max(retry_after, LOOP_PAUSE)
    return CredentialError(
        f"{row.sentence} ({said})", said, temporary=row.status is Status.TRANSIENT, retry_after=retry_after
    )  # fmt: skip


_LATER = Row(Status.TRANSIENT, "Graph cannot take the message now")
_THROTTLED = Row(Status.TRANSIENT, "Graph throttles the app")
_BY_STATUS: dict[int, Row] = {
    407: Row(Status.HELD, "the proxy requires a login", "add user:password to HTTPS_PROXY"),
    408: Row(Status.TRANSIENT, "Graph is unavailable"),
    413: Row(Status.HELD, "Graph, or a proxy before it, takes no request of this size", "ask whoever runs the proxy or filter"),
    421: _LATER, 423: _LATER, 425: _LATER, 429: _THROTTLED, 509: _THROTTLED, 507: GRAPH["ErrorQuotaExceeded"],
}  # fmt: skip
_NOT_FOUND = Row(Status.HELD, "Graph does not find the mailbox", "check GRAPH_SENDER, GRAPH_TENANT_ID and GRAPH_CLOUD")


def _by_http_status(status: int, code: str) -> Row:
    if status in (401, 403):
        if not code:
            return _REFUSED_ELSEWHERE
        return Row(Status.HELD, "Graph refuses the app", "check its permission Mail.Send and its consent")
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in (404, 503) and code:
        return _NOT_FOUND if status == 404 else _BY_STATUS[408]
    if 300 <= status < 400:
        return Row(Status.HELD, "something redirects us away from Graph", "check GRAPH_ENDPOINT and the proxy")
    if 400 < status < 500 and not code:
        return _ANSWERED_ELSEWHERE
    if status >= 500 or status < 300:
        return Row(Status.UNCERTAIN, "Graph gave no clear answer")
    return Row(Status.FAILED, "Graph refuses the message")
