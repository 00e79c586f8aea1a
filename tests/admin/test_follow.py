"""Watching one mail on its way."""

import time

from tests.programs import Host, Sandbox, eventually


def test_a_test_mail_that_waits_with_the_whole_queue_is_told_at_once(online: Host, sandbox: Sandbox) -> None:
    """It is not even tried: why, within seconds, and not that no such mail came."""
    sandbox.control(roles=[])
    assert online.sendmail("-odq", "root").returncode == 0
    with online.runner():
        eventually(lambda: [row["state"] for row in online.rows()] == ["held"], "the queue is suspended")
        begun = time.monotonic()
        done = online.admin("test")
        assert time.monotonic() - begun < 15
        assert (done.returncode, "held: " in done.stdout, "proxmox-graph-mail check" in done.stdout) == (75, True, True), (
            done.stdout
        )


def test_what_was_just_mended_is_not_told_as_if_it_were_not(online: Host, sandbox: Sandbox) -> None:
    """The suspension that the queue runner is about to lift is no outcome of this mail."""
    online.settle(sandbox.settings(GRAPH_CLIENT_SECRET="wrong~secret"))
    assert online.sendmail("-odq", "root").returncode == 0
    with online.runner():
        eventually(lambda: [row["state"] for row in online.rows()] == ["held"], "the queue is suspended")
        online.settle(sandbox.settings())
        done = online.admin("test")
        assert (done.returncode, "arrived at Graph" in done.stdout) == (0, True), done.stdout
