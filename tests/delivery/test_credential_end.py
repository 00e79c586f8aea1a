"""When a credential's end is said, and how."""

from datetime import date, timedelta
from itertools import pairwise

import pytest

from proxmox_graph_mail.delivery import credential_end

TODAY = date(2026, 6, 30)


def test_a_mail_at_60_30_14_7_and_then_every_day() -> None:
    """Counting down day by day, each new stage is one mail."""
    stages = [credential_end.stage(left) for left in range(70, -3, -1)]
    said = [left for left, (before, now) in zip(range(69, -3, -1), pairwise(stages), strict=True) if now != before]
    assert said == [60, 30, 14, 7, 6, 5, 4, 3, 2, 1, 0, -1, -2]


def test_a_host_that_was_off_says_it_once() -> None:
    """From 61 days to 20: one mail, not two."""
    assert credential_end.stage(20) == credential_end.stage(15) == 30


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (29, "the client secret expires in 29 days, on 2026-07-29"), (1, "expires tomorrow, on 2026-07-01"), (-1, "expired yesterday, on 2026-06-29"),
        (0, "the client secret expires today, on 2026-06-30"),
        (-2, "the client secret expired 2 days ago, on 2026-06-28"),
    ],
)  # fmt: skip
def test_the_words(left: int, text: str) -> None:
    """A sentence."""
    assert credential_end.words("secret", TODAY + timedelta(left), TODAY).endswith(text)


def test_the_line_under_every_mail_of_the_last_fortnight() -> None:
    """Not before."""
    assert credential_end.footer("secret", TODAY + timedelta(15), TODAY, "pve1") == ""
    assert credential_end.footer("secret", None, TODAY, "pve1") == ""
    assert credential_end.footer("certificate", TODAY + timedelta(14), TODAY, "pve1") == (
        "The client certificate expires in 14 days, on 2026-07-14. Without renewal, pve1 cannot send mail from then on: proxmox-graph-mail rotate"
    )
