"""The corpus: each message, and the Graph message it must become (golden files).

A mail that once arrived wrong becomes a file here first. `python -m tests.message.test_corpus` writes the golden files
anew, to be read in the diff before they are committed.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from proxmox_graph_mail.graph.message import Circumstances, graph_message, request_body
from proxmox_graph_mail.host import Host
from proxmox_graph_mail.message.aliases import Aliases
from proxmox_graph_mail.message.parse import parse
from proxmox_graph_mail.message.recipients import AddressBook, recipients
from tests.sandbox.graph import _STRICT

CORPUS = Path(__file__).parent.parent / "corpus"
PVE1 = Host(name="pve1", fqdn="pve1.example.com", names=frozenset({"pve1", "pve1.example.com", "localhost"}))
ALIASES = Aliases({"postmaster": ("root",), "www-data": ("web@example.com", "root")})
BOOK = AddressBook(PVE1, ALIASES, ("admin@example.com",), "pve@example.com")
HANDED_IN = 1782784813.0  # 2026-06-30 04:00:13 +0200
AT = Circumstances("0655F19D01A53F00AB", HANDED_IN, HANDED_IN + 2, PVE1, "pve@example.com", "root")


def converted(data: bytes, envelope: list[str]) -> dict[str, Any]:
    """The Graph message, as the runner makes it."""
    mail = parse(data)
    return graph_message(mail, recipients(envelope, mail, BOOK), AT)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize("name", sorted(path.stem for path in CORPUS.glob("*.eml")))
def test_a_corpus_message_becomes_its_golden_graph_message(name: str) -> None:
    """…which the stand-in's schema takes."""
    golden = json.loads((CORPUS / f"{name}.json").read_text("utf-8"))
    message = converted((CORPUS / f"{name}.eml").read_bytes(), golden["recipients"])
    assert json.loads(json.dumps(message)) == golden["message"]
    body = json.loads(request_body(message, save_to_sent_items=False))
    assert [error.message for error in _STRICT.iter_errors(body)] == []


def main() -> None:
    import os
    import time

    os.environ["TZ"] = "UTC"
    time.tzset()
    for path in sorted(CORPUS.glob("*.eml")):
        golden = json.loads(path.with_suffix(".json").read_text("utf-8"))
        golden["message"] = converted(path.read_bytes(), golden["recipients"])
        text = json.dumps(golden, indent=1, ensure_ascii=False) + "\n"
        path.with_suffix(".json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
