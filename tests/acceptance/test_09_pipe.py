"""A host that must keep Postfix (Proxmox Mail Gateway): the program as a transport of Postfix's pipe(8), by the lines of
docs/proxmox.md. Last of all, for it takes the package away."""

import re

import pytest

from tests.acceptance.machine import Machine, Tenant, people
from tests.programs import TREE, eventually

PROGRAM = "/opt/proxmox-graph-mail/bin/proxmox-graph-mail"


def documented(name: str) -> str:
    """The block of docs/proxmox.md under the file's name."""
    found = re.search(rf"^`{re.escape(name)}`.*?:\n\n((?:    .*\n|\n)+)", (TREE / "docs/proxmox.md").read_text(), re.MULTILINE)
    assert found, name
    return re.sub(r"^    ", "", found[1], flags=re.MULTILINE)


@pytest.fixture(scope="module")
def postfix(settled: Machine, tenant: Tenant) -> Machine:
    """Postfix in the package's place, and the program in /opt."""
    settings = "".join(f"{key}={value}\n" for key, value in tenant.settings(MAIL_TO="admin@example.com").items())
    settled.run("DEBIAN_FRONTEND=noninteractive apt-get install -y postfix 2>&1")
    settled.run(f"install -d {PROGRAM.rpartition('/')[0]}")
    settled.write(PROGRAM, '#!/bin/sh\nexec python3 -I /srv/project/proxmox_graph_mail/admin/__main__.py "$@"\n', 0o755)
    settled.write("/etc/proxmox-graph-mail.conf", settings, 0o640)
    settled.run("getent passwd proxmox-graph-mail || useradd --system proxmox-graph-mail")
    settled.run("chgrp proxmox-graph-mail /etc/proxmox-graph-mail.conf")
    settled.run("install -d -m 700 -o proxmox-graph-mail /var/lib/proxmox-graph-mail")
    settled.run("cat >> /etc/postfix/master.cf", stdin=documented("master.cf"))
    settled.run(
        "cat >> /etc/postfix/main.cf",
        stdin=documented("main.cf") + "relayhost =\nmyorigin = pve1.example.com\nmydestination = pve1.example.com, localhost\n",
    )
    settled.run("systemctl restart postfix")
    return settled


def test_postfix_sends_through_graph(postfix: Machine, tenant: Tenant) -> None:
    """sendmail is Postfix's; Graph has the mail; the log says sent."""
    tenant.reset()
    postfix.run("printf 'Subject: through postfix\\nTo: ops@example.com\\n\\nx\\n' | sendmail -f root ops@example.com")
    assert people(tenant.arrives("through postfix")) == ["ops@example.com"]
    eventually(lambda: "status=sent (delivered via graph service" in postfix.journal("-t", "postfix/pipe"), "the log says so")


def test_what_the_tenant_refuses_postfix_keeps(postfix: Machine, tenant: Tenant) -> None:
    """Deferred with our words; then sent."""
    tenant.control(roles=[])
    postfix.run("rm -f /var/lib/proxmox-graph-mail/*")
    postfix.run("printf 'Subject: deferred by postfix\\n\\nx\\n' | sendmail -f root ops@example.com")
    eventually(
        lambda: re.search(r"dsn=4\.3\.5, status=deferred .*Mail\.Send", postfix.journal("-t", "postfix/pipe")), "deferred", 60
    )
    tenant.reset()
    postfix.run("rm -f /var/lib/proxmox-graph-mail/*; postqueue -f")
    tenant.arrives("deferred by postfix", 60)


def test_what_graph_refuses_for_good_bounces(postfix: Machine, tenant: Tenant) -> None:
    """The sender, a local user, has Postfix's report."""
    tenant.control(refused=["bad@example.com"])
    postfix.run("printf 'Subject: bounces\\n\\nx\\n' | sendmail -f alice bad@example.com")
    eventually(lambda: re.search(r"dsn=5\.1\.3, status=bounced", postfix.journal("-t", "postfix/pipe")), "bounced", 60)
    eventually(lambda: "bad@example.com" in postfix.run("cat /var/mail/alice", check=False).stdout, "alice has the report", 30)
    tenant.control(refused=[])
