"""What is remembered of refusals."""

from pathlib import Path

from proxmox_graph_mail.graph.permissions import MEMORY, REQUEST_LIMIT, STEPS, Permissions


def test_a_limit_that_was_met_is_remembered_for_a_day(tmp_path: Path) -> None:
    """By the next runner too; then Graph's own counts again."""
    now = [1e9]
    Permissions(tmp_path, "k", lambda: now[0]).too_large(3_900_000)
    again = Permissions(tmp_path, "k", lambda: now[0])
    assert again.request_limit() == STEPS[0]
    now[0] += MEMORY + 1
    assert again.request_limit() == REQUEST_LIMIT


def test_a_limit_is_never_raised_by_a_refusal(tmp_path: Path) -> None:
    """Two requests may be on their way at once; the smaller one's refusal came first."""
    permissions = Permissions(tmp_path, "k", lambda: 1e9)
    permissions.too_large(600_000)
    permissions.too_large(3_900_000)
    assert permissions.request_limit() == 500_000


def test_another_credential_or_a_spoilt_file_begins_anew(tmp_path: Path) -> None:
    """What it says of a limit must be one of ours."""
    Permissions(tmp_path, "k", lambda: 1e9).too_large(600_000)
    assert Permissions(tmp_path, "another", lambda: 1e9).request_limit() == REQUEST_LIMIT
    for spoilt in (
        '{"key": "k", "too_large": [7, 1e9]}',
        '{"key": "k", "too_large": "x"}',
        '{"key": "k", "too_large": [null, null]}',
    ):
        (tmp_path / "permissions.json").write_text(spoilt)
        assert Permissions(tmp_path, "k", lambda: 1e9).request_limit() == REQUEST_LIMIT
