"""Fixtures: one machine for all; before the package is installed, and with it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.machine import Machine, Tenant
from tests.programs import TREE

STUCK = 3
"""Mails that Postfix could not deliver before the package came."""


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package, built from this tree."""
    subprocess.run([TREE / "packaging" / "build-deb"], check=True, stdout=subprocess.DEVNULL)
    (made,) = (TREE / "dist").glob("*.deb")
    return made


@pytest.fixture(scope="session")
def machine(deb: Path) -> Iterator[Machine]:
    """A booted machine with Postfix, whose queue holds mail; the package lies in /root."""
    if os.geteuid() != 0:
        pytest.exit("make acceptance needs root: it mounts, and boots a machine", 1)
    made = Machine()
    try:
        made.boot()
        made.run(f"cp /srv/project/dist/{deb.name} /root/")
        made.run("useradd --create-home alice && useradd --create-home mallory")
        made.run("getent passwd backup www-data nobody > /dev/null")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def tenant(machine: Machine) -> Tenant:
    made = Tenant(machine)
    made.start()
    return made


@pytest.fixture(scope="session")
def installation(machine: Machine, tenant: Tenant, deb: Path) -> str:
    """What `apt install` of the package printed, over a Postfix with mail in its queue."""
    machine.run("postconf -e 'relayhost=[127.0.0.1]:9' && systemctl restart postfix")
    for number in range(STUCK):
        machine.run(f"printf 'Subject: stuck {number}\\n\\nx\\n' | sendmail -f root someone@example.com")
    done = machine.run(f"DEBIAN_FRONTEND=noninteractive apt-get install -y /root/{deb.name} 2>&1")
    return done.stdout


@pytest.fixture(scope="session")
def settled(machine: Machine, tenant: Tenant, installation: str) -> Machine:
    """The machine with the package and the settings an admin writes: the four, and MAIL_TO."""
    settle(machine, tenant)
    return machine


def settle(machine: Machine, tenant: Tenant, **other: str) -> None:
    """Write the settings file as an editor does, in place. Unless a test says otherwise, at no pace and without digests: what it
    counts arrives at once, and each by itself."""
    at_once = {"MAILBOX_RATE": "0", "MAILBOX_DAILY_RECIPIENTS": "0", "DIGEST": "off"}
    settings = tenant.settings(MAIL_TO="admin@example.com") | at_once | other
    text = "".join(f"{key}={value}\n" for key, value in settings.items() if value)
    machine.run("cat > /etc/proxmox-graph-mail.conf", stdin=text)


@pytest.fixture
def host(settled: Machine, tenant: Tenant) -> Iterator[Machine]:
    """The machine, its tenant as at first, its queue empty; whatever a test left is cleared up."""
    tenant.start()
    tenant.reset()
    yield settled
    tenant.start()
    tenant.reset()
    settle(settled, tenant)
    settled.run("systemctl start proxmox-graph-mail.path proxmox-graph-mail.socket")
    settled.run("proxmox-graph-mail queue remove ALL --yes")
