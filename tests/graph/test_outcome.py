"""The outcome table: complete, and every row a sentence an admin can act on."""

import json

import httpx
import pytest

from proxmox_graph_mail.errors import CredentialError, RefusedError
from proxmox_graph_mail.graph.codes import ENTRA, GRAPH, judge, no_token
from proxmox_graph_mail.graph.http import Answer
from proxmox_graph_mail.graph.outcome import Outcome, Status
from proxmox_graph_mail.graph.request import refused
from tests import reference
from tests.programs import TREE


def judge_graph(http_status: int, code: str, words: str = "") -> Outcome:
    """What an answer that is not the expected one makes of a mail."""
    content = json.dumps({"error": {"code": code, "message": words}}).encode() if code else b""
    error = refused(Answer(http_status, httpx.Headers(), content))
    assert isinstance(error, RefusedError)
    return judge(error)


def test_no_answer_that_is_not_expected_is_success() -> None:
    """202 is expected of sendMail; not 200, not 201, not 204, nor a 202 where a draft's 201 is."""
    assert not [status for status in range(100, 600) if judge_graph(status, "").status is Status.SENT]


def test_what_is_certainly_not_done_may_be_repeated_at_once_and_nothing_else() -> None:
    """Within a request."""
    for status in range(100, 600):
        error = refused(Answer(status, httpx.Headers(), b'{"error": {"code": "ErrorServerBusy", "message": ""}}'))
        assert error.repeatable is (judge(error).status is Status.TRANSIENT)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "uncertain"), (302, "held"), (400, "failed"), (401, "held"), (403, "held"), (404, "held"), (423, "transient"), (407, "held"), (408, "transient"),
     (409, "failed"), (413, "held"), (429, "transient"), (500, "uncertain"), (502, "uncertain"), (503, "transient"),
     (504, "uncertain"), (507, "held"), (509, "transient"), (599, "uncertain")],
)  # fmt: skip
def test_an_unknown_code_goes_by_its_status(status: int, expected: str) -> None:
    """Whatever Microsoft invents next has an outcome."""
    found = judge_graph(status, "SomethingNew")
    assert found.status == expected
    assert f"HTTP {status} SomethingNew" in found.reason


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ("ErrorMimeContentInvalid ErrorInvalidRecipients ErrorMessageSizeExceeded RequestBodyRead InvalidInternetMessageHeader", "failed"),
        ("ErrorAccessDenied ErrorSendAsDenied ErrorInvalidUser MailboxNotEnabledForRESTAPI ErrorQuotaExceeded ErrorInvalidSender "
         "ErrorMessageSubmissionBlocked NoPermissionsInAccessToken ResourceNotFound InvalidAuthenticationToken", "held"),
        ("ApplicationThrottled TooManyRequests ErrorServerBusy ErrorMailboxMoveInProgress ErrorSubmissionQuotaExceeded", "transient"),
        ("ErrorInternalServerError UnknownError", "uncertain"),
    ],
)  # fmt: skip
def test_the_classes_of_graph_s_codes(codes: str, expected: str) -> None:
    """What is the tenant's fault is held, whatever its HTTP status."""
    for code in codes.split():
        assert judge_graph(400, code).status == expected, code


def test_an_answer_that_is_not_graph_s_is_not_the_mail_s_fault() -> None:
    """A proxy's page for a 404; a 503 that no code explains may have come after the mail was taken."""
    assert judge_graph(404, "").status is Status.HELD
    assert judge_graph(503, "").status is Status.UNCERTAIN
    assert judge_graph(504, "ErrorServerBusy").status is Status.UNCERTAIN
    assert judge_graph(503, "ErrorServerBusy").status is Status.TRANSIENT


def test_what_is_held_concerns_every_message() -> None:
    """…and a refused message concerns itself alone."""
    assert judge_graph(403, "ErrorAccessDenied").shared
    assert judge_graph(429, "").shared
    assert not judge_graph(400, "ErrorInvalidRecipients").shared
    assert not judge_graph(500, "").shared
    assert not judge_graph(413, "").shared


def test_every_row_is_one_sentence() -> None:
    """No line end, no full stop, and a remedy wherever the admin must act."""
    for row in (*GRAPH.values(), *ENTRA.values()):
        assert row.sentence
        assert "\n" not in row.sentence
        assert not row.sentence.endswith(".")
        assert row.status is not Status.HELD or row.remedy, row


@pytest.mark.parametrize(
    ("http", "error", "text", "expected", "says"),
    [
        (401, "invalid_client", "AADSTS7000215: Invalid client secret provided.", "held", "the secret's Value, not its ID"),
        (401, "invalid_client", "AADSTS7000222: expired", "held", "has expired"),
        (400, "invalid_request", "AADSTS90002: Tenant 'x' not found.", "held", "GRAPH_TENANT_ID"),
        (400, "x", "AADSTS999999: new", "held", "look the code up"),
        (503, "temporarily_unavailable", "", "transient", "unavailable"),
        (429, "", "", "transient", "unavailable"),
        (400, "server_error", "", "transient", "unavailable"),
        (400, "x", "AADSTS90033: transient", "transient", "unavailable"),
    ],
)
def test_entra_s_refusals(http: int, error: str, text: str, expected: str, says: str) -> None:
    """By AADSTS code, else by status; always shared."""
    found = no_token(http, error, text)
    assert isinstance(found, CredentialError)
    assert (judge(found).status, found.shared) == (expected, True)
    assert says in str(found)


def test_a_loop_of_token_requests_is_paused_for_a_minute() -> None:
    """AADSTS50196."""
    assert no_token(400, "x", "AADSTS50196: loop").retry_after >= 60


def test_the_documentation_shows_the_same_rows() -> None:
    """docs/outcomes.md is this table; `make docs` writes it."""
    assert (TREE / "docs" / "outcomes.md").read_text("utf-8") == reference.outcomes()
