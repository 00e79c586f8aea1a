"""`target`: through Proxmox's own commands alone, on both products."""

import json
import os
from pathlib import Path

import pytest

from tests.programs import Sandbox, subjects
from tests.proxmox.host import ProxmoxHost

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Proxmox's settings are root's")
SMTP = "smtp: local\n\tserver 127.0.0.1\n\tmode insecure\n\tfrom-address pve@example.com\n\tmailto root\n"
GOTIFY = "gotify: phone\n\tserver https://push.example.com\n"


def config(pve: ProxmoxHost) -> Path:
    return pve.root / "etc/pve/notifications.cfg"


@pytest.fixture(params=["pve", "pbs"])
def product(pve: ProxmoxHost, request: pytest.FixtureRequest) -> ProxmoxHost:
    """Each product's command alone is there."""
    (pve.host.programs / ("pvesh" if request.param == "pbs" else "proxmox-backup-manager")).unlink()
    (pve.root / "etc/proxmox-backup").mkdir()
    (pve.root / "etc/proxmox-backup/user.cfg").write_text("user: root@pam\n\temail admin@example.com\n")
    return pve


def test_show_says_what_reaches_us_and_from_and_to_whom(pve: ProxmoxHost) -> None:
    """sendmail targets, an smtp target on localhost; not gotify; root@pam's address is resolved."""
    config(pve).write_text(SMTP + GOTIFY + "sendmail: quiet\n\tmailto ops@example.com\n\tfrom-address other@example.com\n")
    shown = json.loads(pve.host.admin("target", "show", "--json").stdout)
    rows = {row["name"]: row for row in shown["targets"]}
    assert {name: row["reaches_us"] for name, row in rows.items()} == {
        "mail-to-root": True, "local": True, "phone": False, "quiet": True,
    }  # fmt: skip
    assert rows["mail-to-root"]["to"] == ["root@pam (admin@example.com)"]
    assert rows["mail-to-root"]["matchers"] == ["default-matcher"]
    assert rows["quiet"]["from"] == "pve@example.com (asks for other@example.com)"
    text = pve.host.admin("target", "show", COLUMNS="150").stdout
    assert "quiet: no matcher names it, so nothing is sent to it" in text
    assert "mail-to-root  sendmail  yes" in text


def test_add_test_and_remove(product: ProxmoxHost, sandbox: Sandbox) -> None:
    """The test waits for what became of the mail; the file holds sections of Proxmox's own types alone."""
    done = product.host.admin("target", "add", "--to", "alarms@example.com", "--to", "root@pam", "--matcher")
    assert done.returncode == 0, done.stderr
    shown = json.loads(product.host.admin("target", "show", "--json").stdout)
    row = next(row for row in shown["targets"] if row["name"] == "microsoft365")
    assert (row["to"], row["matchers"]) == (["alarms@example.com", "root@pam (admin@example.com)"], ["all-to-microsoft365"])
    with product.host.runner():
        done = product.host.admin("target", "test", "microsoft365")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " arrived at Graph " in done.stdout
    assert "for alarms@example.com, admin@example.com" in done.stdout
    assert subjects(sandbox.accepted()) == ["Test notification"]
    assert product.host.admin("target", "remove", "microsoft365").stdout.splitlines() == [
        "matcher all-to-microsoft365 removed", "target microsoft365 removed",
    ]  # fmt: skip
    names = [row["name"] for row in json.loads(product.host.admin("target", "show", "--json").stdout)["targets"]]
    assert names == ["mail-to-root"]


def test_a_test_that_fails_says_so_although_proxmox_does_not(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """Held, with the reason and what to do."""
    sandbox.control(roles=[])
    with pve.host.runner():
        done = pve.host.admin("target", "test", "mail-to-root")
    assert done.returncode == 75
    assert "held: " in done.stdout
    assert "Mail.Send" in done.stdout


def test_what_cannot_be_done_is_one_sentence(pve: ProxmoxHost) -> None:
    """Unknown names, names that are none, targets that do not lead here, one that a matcher needs; Proxmox's own words."""
    config(pve).write_text(GOTIFY + "sendmail: used\n\tmailto ops@example.com\n\nmatcher: mine\n\ttarget used\n")

    def refused(*argv: str) -> str:
        done = pve.host.admin("target", *argv)
        assert done.returncode in (64, 65, 69)
        assert len(done.stderr.strip().splitlines()) == 1
        return done.stderr

    assert "there is no target nowhere" in refused("test", "nowhere")
    assert "of type gotify: its mail does not pass through this host" in refused("test", "phone")
    assert "a target's name has 2 to 32" in refused("add", "../../etc")
    assert "the matcher mine uses used" in refused("remove", "used")
    assert "endpoint 'used' already exists" in refused("add", "used")
    config(pve).write_text("graph: wrong\n")
    assert "unknown section type" in refused("show")
    for name in ("pvesh", "proxmox-backup-manager"):
        (pve.host.programs / name).unlink()
    assert "this is not a Proxmox host" in refused("show")
