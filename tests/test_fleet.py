"""Many nodes, one mailbox: the simulation's own promises, on small fleets."""

from pathlib import Path

import pytest

from proxmox_graph_mail.graph.throttle import AT_ONCE
from tests.fleet import LATENCY, Clock, Mailbox, Scenario, play


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("at once", 40), Scenario("named", 40, retry_after="1"), Scenario("many each", 4, mails=20),
        Scenario("down", 20, down=300.0),
    ],
    ids=lambda scenario: scenario.name,
)  # fmt: skip
def test_every_mail_of_a_fleet_arrives_once_and_few_requests_are_refused(scenario: Scenario, tmp_path: Path) -> None:
    """Without a coordinator; the real runner, throttle, suspension and schedule."""
    found = play(scenario, tmp_path)
    assert (found.lost, found.twice) == (0, 0)
    assert found.refused <= (6 if not scenario.down else 12)
    assert found.seconds >= found.limit


def test_uncertain_answers_are_probed_and_not_met_by_every_mail(tmp_path: Path) -> None:
    """Each of them may send a mail twice: some at first, then one a round."""
    found = play(Scenario("500", 1, mails=300, down=360.0, uncertain=True), tmp_path)
    assert (found.lost, found.requests - 300) <= (0, 25)


def test_the_model_holds_the_limits() -> None:
    """Else what it measures says nothing: four at once, and no more."""
    clock, answers = Clock(), []
    mailbox = Mailbox(clock)
    threads = [
        clock.start(lambda: answers.append(mailbox.request("POST", "/", content=b'{"message":{"subject":"x"}}').status))
        for _ in range(AT_ONCE + 3)
    ]
    for thread in threads:
        thread.join()
    assert sorted(answers)[:AT_ONCE] == [202] * AT_ONCE
    assert mailbox.last - clock.now <= LATENCY
