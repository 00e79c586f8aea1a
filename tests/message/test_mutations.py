"""Two thousand broken mails of tests/fuzz.py, and the search itself: it finds what is lost."""

import pytest

from proxmox_graph_mail.message import parse as parser
from proxmox_graph_mail.message.mail import Mail
from tests.fuzz import EACH, MAILS, lost, search


@pytest.mark.parametrize("seed", range(2000 // EACH))
def test_broken_mail_neither_raises_nor_loses_anything(seed: int) -> None:
    """Deterministic by its seed; `make fuzz` goes on with the next ones."""
    assert search(seed) == []


def test_a_whole_mail_of_the_corpus_is_not_lost() -> None:
    """The search's own rules hold for mail that nobody broke."""
    assert [(data[:200], said) for data in MAILS if (said := lost(data))] == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda mail: {"text": mail.text and mail.text[:-8], "appended": ()}, "is nowhere"),
        (lambda mail: {"attachments": mail.attachments[1:]}, "is lost"),
    ],
)
def test_what_is_lost_is_found(monkeypatch: pytest.MonkeyPatch, change: object, told: str) -> None:
    """Of mails that end a word too early, and of those without their first attachment."""
    from dataclasses import replace

    whole = parser.parse

    def broken(data: bytes) -> Mail:
        mail = whole(data)
        return replace(mail, **change(mail))  # type: ignore[operator]

    monkeypatch.setattr("tests.fuzz.parse", broken)
    assert any(told in line for line in search(0))
