"""One token for all processes; one question to Entra, whatever it answers."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proxmox_graph_mail.errors import CredentialError
from proxmox_graph_mail.graph.credential import Credential
from proxmox_graph_mail.graph.entra import TokenEndpoint
from proxmox_graph_mail.graph.http import Wire
from proxmox_graph_mail.graph.token_cache import REFUSAL_MEMORY, TokenCache
from tests.graph.test_credential import credential, wire_to
from tests.programs import TREE, Sandbox


@pytest.fixture
def wire(sandbox: Sandbox) -> Iterator[Wire]:
    with wire_to(sandbox) as made:
        yield made


def cache(state: Path | None, who: Credential, wire: Wire, **other: Any) -> TokenCache:
    return TokenCache(state, TokenEndpoint(who, wire), **other)


def test_a_token_is_asked_for_once_and_kept_for_the_next_process(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """0600, and equal for all."""
    first = cache(tmp_path, credential(sandbox), wire)
    second = cache(tmp_path, credential(sandbox), wire)
    assert first.get() == first.get() == second.get()
    assert sandbox.counts()["token"] == 1
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tokens.lock").stat().st_mode & 0o777 == 0o600


def test_a_token_near_its_end_is_renewed(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """Five minutes before."""
    now = time.time()
    kept = cache(tmp_path, credential(sandbox), wire, clock=lambda: now)
    first = kept.get()
    now = first.expires - 301
    assert kept.get() == first
    now = first.expires - 299
    assert kept.get() != first


def test_many_processes_with_no_token_make_one_request(sandbox: Sandbox, tmp_path: Path) -> None:
    """Twelve at once."""
    code = (
        "import sys; from pathlib import Path; from proxmox_graph_mail.graph.http import Wire\n"
        "from proxmox_graph_mail.graph.cloud import cloud\n"
        "from proxmox_graph_mail.graph.credential import Credential\n"
        "from proxmox_graph_mail.graph.entra import TokenEndpoint\n"
        "from proxmox_graph_mail.graph.token_cache import TokenCache\n"
        "state, url, tenant, client, ca = sys.argv[1:]; secret = sys.stdin.read()\n"
        "who = Credential(cloud('global', url, url), tenant, client, 'secret', secret)\n"
        "print(TokenCache(Path(state), TokenEndpoint(who, Wire(Path(ca), '', '', []))).get().value)\n"
    )
    about = sandbox.about
    command = [sys.executable, "-c", code, str(tmp_path), sandbox.url, about["tenant"], about["client"], about["ca_file"]]

    def one(_: int) -> str:
        options: dict[str, Any] = {"capture_output": True, "text": True, "cwd": TREE, "check": True, "timeout": 120}
        return str(subprocess.run(command, input=about["secret"], **options).stdout)

    with ThreadPoolExecutor(12) as pool:
        tokens = set(pool.map(one, range(12)))
    assert len(tokens) == 1
    assert sandbox.counts()["token"] == 1


def test_a_rejected_token_is_replaced_once(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """The process that comes second finds the new one in the cache."""
    first = cache(tmp_path, credential(sandbox), wire)
    second = cache(tmp_path, credential(sandbox), wire)
    old = first.get()
    assert second.get() == old
    new = first.replace(old)
    assert new != old
    assert second.replace(old) == new
    assert sandbox.counts()["token"] == 2


def test_a_refusal_is_remembered_by_all_processes_for_a_while(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """A queue of 500 asks once; a changed credential asks at once."""
    now = time.time()
    wrong = credential(sandbox, secret="wrong")
    for _ in range(5):
        with pytest.raises(CredentialError, match="secret is wrong"):
            cache(tmp_path, wrong, wire, clock=lambda: now).get()
    assert sandbox.counts()["token"] == 1
    assert cache(tmp_path, credential(sandbox), wire, clock=lambda: now).get().value
    assert sandbox.counts()["token"] == 2
    now += REFUSAL_MEMORY + 1
    with pytest.raises(CredentialError):
        cache(tmp_path, wrong, wire, clock=lambda: now).get()
    assert sandbox.counts()["token"] == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b'{"k": {"token": 5, "expires": "x"}}'])
def test_a_damaged_cache_is_a_cache_without_a_token(sandbox: Sandbox, wire: Wire, tmp_path: Path, content: bytes) -> None:
    """…and is replaced by a good one."""
    (tmp_path / "tokens.json").write_bytes(content.replace(b'"k"', json.dumps(credential(sandbox).key).encode()))
    token = cache(tmp_path, credential(sandbox), wire).get()
    assert token.value in (tmp_path / "tokens.json").read_text()


def test_other_credentials_tokens_are_kept(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """Two settings on one host do not throw each other's token away; what has ended goes."""
    cache(tmp_path, credential(sandbox), wire).get()
    cache(tmp_path, credential(sandbox, "certificate"), wire).get()
    assert len(json.loads((tmp_path / "tokens.json").read_text())) == 2


def test_a_cache_that_cannot_be_written_costs_tokens_not_mail(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """A directory in the file's place stands for a full disk."""
    (tmp_path / "tokens.json").mkdir()
    assert cache(tmp_path, credential(sandbox), wire).get().value


@pytest.mark.parametrize("before", [True, False], ids=["with a lock", "without one"])
def test_a_read_only_disk_costs_tokens_not_mail(
    sandbox: Sandbox, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """A token that Graph refused is replaced all the same."""
    if before:
        cache(tmp_path, credential(sandbox), wire).get()
    really = os.open

    def read_only(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY) and str(path).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return really(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    kept = cache(tmp_path, credential(sandbox), wire)
    assert kept.replace(kept.get()).value


def test_a_link_in_the_cache_s_place_is_not_followed(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """It is replaced, never opened through what lies there."""
    (tmp_path / "target").write_text("precious")
    (tmp_path / "tokens.json").symlink_to(tmp_path / "target")
    cache(tmp_path, credential(sandbox), wire).get()
    assert (tmp_path / "target").read_text() == "precious"


def test_root_keeps_no_token_where_the_service_user_would_meet_it(sandbox: Sandbox, wire: Wire, tmp_path: Path) -> None:
    """Without a state directory a token lives in this process alone."""
    kept = cache(None, credential(sandbox), wire)
    first = kept.get()
    assert kept.get() == first
    assert kept.replace(first) != first
    assert list(tmp_path.iterdir()) == []
