"""Fixtures: a host of its own for every test, one stand-in for Microsoft for all."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.programs import Host, Sandbox
from tests.proxmox.host import ProxmoxHost

settings.register_profile("default", deadline=None, max_examples=200)
settings.load_profile("default")


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[Sandbox]:
    made = Sandbox()
    yield made
    errors = made.close()
    assert "Traceback" not in errors, errors


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Iterator[Sandbox]:
    _sandbox.reset()
    yield _sandbox
    _sandbox.reset()


@pytest.fixture
def online(host: Host, sandbox: Sandbox) -> Host:
    """A host with settings that work."""
    host.settle(sandbox.settings())
    return host


@pytest.fixture
def pve(online: Host) -> ProxmoxHost:
    """A PVE node whose root@pam has an address, and whose settings do not name MAIL_TO."""
    made = ProxmoxHost(online)
    text = online.config.read_text()
    online.config.write_text("".join(f"{line}\n" for line in text.splitlines() if not line.startswith("MAIL_TO")))
    made.refresh()
    return made
