"""Every way in which a host breaks, and what each of our voices says then: no cell says OK.

Patience is five seconds here, not fifteen minutes; what is said, and by whom, is the same. Each row is broken, a mail of root's is
handed in, and the watch looks as often as it would; then it is mended, and all must be clear by itself. The table of
docs/operations.md is what this prints (dist/matrix.md).
"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from tests.acceptance.conftest import settle
from tests.acceptance.machine import Machine, Tenant
from tests.programs import TREE, eventually

PATIENCE = 5  # seconds
CONF = "/etc/proxmox-graph-mail.conf"
SPOOL = "/var/spool/proxmox-graph-mail"
STATE = "/var/lib/proxmox-graph-mail"
PEM = "/etc/pgm-test.pem"
DROP_IN = f"[Service]\nEnvironment=PROXMOX_GRAPH_MAIL_PATIENCE={PATIENCE}\n"
UNITS = ("proxmox-graph-mail", "proxmox-graph-mail-watch", "proxmox-graph-mail-alarm")
WITH_CERTIFICATE = (
    f"sed -i /GRAPH_CLIENT_SECRET/d {CONF}; echo GRAPH_CLIENT_CERTIFICATE={PEM} >> {CONF}; chown root:proxmox-graph-mail {PEM}; "
    f"chmod 640 {PEM}; "
)


class Row(NamedTuple):
    """One way to break a host: what is done, what mends it beside the settings, and after how long the alarm comes in truth."""

    name: str
    breaks: str
    mends: str = "true"
    after: str = "15 minutes"
    words: str = ""  # in the journal's alarm


ROWS = (
    Row("the spool belongs to root (a restore)", f"chown root:root {SPOOL} {SPOOL}/*", f"chown -R proxmox-graph-mail: {SPOOL}",
        "2 minutes", "may not write"),
    Row("the spool is gone", f"mv {SPOOL} {SPOOL}.away", f"rm -rf {SPOOL}; mv {SPOOL}.away {SPOOL}", "2 minutes", "there is no spool"),
    Row("/var is read-only", "mount --bind -o ro /var /var", "umount /var", "2 minutes", "read-only"),
    Row("the disk is full", "fallocate -l $(df --output=avail -B1 /var | tail -n 1) /var/ballast", "rm -f /var/ballast", "2 minutes", "MB left"),
    Row("the settings cannot be read", f"chown root:root {CONF}; chmod 600 {CONF}", f"chown root:proxmox-graph-mail {CONF}; chmod 640 {CONF}"),
    Row("the settings have an unknown key", f"echo GRAPH_SENDRE=x@example.com >> {CONF}"),
    Row("HTTPS_PROXY is a SOCKS proxy", f"echo HTTPS_PROXY=socks5://127.0.0.1:1080 >> {CONF}"),
    Row("the proxy does not answer", f"echo HTTPS_PROXY=http://127.0.0.1:9 >> {CONF}", after="1 hour"),
    Row("GRAPH_CA_FILE is missing", f"echo GRAPH_CA_FILE=/etc/nowhere.pem >> {CONF}"),
    Row("the certificate's file is missing", f"touch {PEM}; {WITH_CERTIFICATE} rm {PEM}"),
    Row("the certificate's file is garbage", f"echo garbage > {PEM}; {WITH_CERTIFICATE}", f"rm {PEM}"),
    Row("the certificate's file has a key alone", f"openssl genrsa -out {PEM} 2048 2>/dev/null; {WITH_CERTIFICATE}", f"rm {PEM}"),
    Row("the secret is wrong", f"sed -i 's/^GRAPH_CLIENT_SECRET=.*/GRAPH_CLIENT_SECRET=wrong~secret/' {CONF}"),
    Row("the secret has ended", "tenant: expired"),
    Row("the consent is withdrawn", "tenant: roles"),
    Row("the mailbox is not there", f"sed -i 's/^GRAPH_SENDER=.*/GRAPH_SENDER=nobody@example.com/' {CONF}"),
    Row("Microsoft's names do not resolve", "cp /etc/hosts /root/hosts; sed -i 's/login[^ ]*//; s/graph[^ ]*//' /etc/hosts; "
        "systemctl restart proxmox-graph-mail",
        "cat /root/hosts > /etc/hosts", "1 hour"),
    Row("Microsoft does not answer", "systemctl stop tenant", after="1 hour"),
    Row("Microsoft's certificate is not trusted", "rm /usr/local/share/ca-certificates/tenant.crt; update-ca-certificates -f; "
        "systemctl restart proxmox-graph-mail",
        "cp /srv/tenant/ca.pem /usr/local/share/ca-certificates/tenant.crt; update-ca-certificates"),
    Row("the queue runner is masked", "systemctl mask --now proxmox-graph-mail.service", "systemctl unmask proxmox-graph-mail.service",
        "2 minutes", "masked"),
    Row("the queue runner's socket and path are stopped", "systemctl stop proxmox-graph-mail.socket proxmox-graph-mail.path",
        after="2 minutes", words="is not active"),
    Row("the submit socket is stopped", "systemctl stop proxmox-graph-mail-submit.socket", "systemctl start proxmox-graph-mail-submit.socket",
        "2 minutes", "is not active"),
    Row("a module of the program is missing", "mv /usr/share/proxmox-graph-mail/*/proxmox_graph_mail/delivery/verdict.py /root/; "
        "rm -rf /usr/share/proxmox-graph-mail/*/proxmox_graph_mail/delivery/__pycache__; systemctl restart proxmox-graph-mail",
        "mv /root/verdict.py /usr/share/proxmox-graph-mail/*/proxmox_graph_mail/delivery/", "2 minutes", "keeps restarting"),
    Row("another program is /usr/sbin/sendmail", "mv /usr/sbin/sendmail /root/; printf '#!/bin/sh\\nexit 0\\n' > /usr/sbin/sendmail; "
        "chmod 755 /usr/sbin/sendmail", "mv /root/sendmail /usr/sbin/sendmail", "2 minutes", "is not this program's"),
    Row("the runtime directory is gone", "rm -rf /run/proxmox-graph-mail",
        "systemctl stop proxmox-graph-mail.service; systemd-tmpfiles --create proxmox-graph-mail.conf; "
        "systemctl restart 'proxmox-graph-mail*.socket'", "2 minutes", "is missing"),
)  # fmt: skip


class Said(NamedTuple):
    """What was said of one row."""

    sendmail: str
    nagios: str
    check: str
    journal: str
    motd: str
    told: str


TABLE: list[tuple[Row, Said, float]] = []


@pytest.fixture(scope="module")
def impatient(settled: Machine, tenant: Tenant) -> Iterator[Machine]:
    """The machine whose patience is short, and whose ALARM_COMMAND writes into the journal."""
    for unit in UNITS:
        folder = f"/etc/systemd/system/{unit}.service.d"
        settled.run(f"mkdir -p {folder}")
        settled.write(f"{folder}/patience.conf", DROP_IN)
    settled.run("systemctl daemon-reload; systemctl stop proxmox-graph-mail.service")
    yield settled
    for unit in UNITS:
        settled.run(f"rm -r /etc/systemd/system/{unit}.service.d")
    settled.run(
        "systemctl daemon-reload; systemctl stop proxmox-graph-mail.service; systemctl start proxmox-graph-mail-watch.timer"
    )
    settle(settled, tenant)
    (TREE / "dist").mkdir(exist_ok=True)
    (TREE / "dist" / "matrix.md").write_text(table())


def masked(text: str) -> str:
    """A sentence without what differs from run to run."""
    text = re.sub(r"\b[0-9A-F]{18}\b", "ID", text)
    text = re.sub(r"request-id=[\w-]+|trace[- ]id[:=] ?[\w-]+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "…", text, flags=re.IGNORECASE)
    text = re.sub(r"\d+ minutes?", "… minutes", text)
    text = re.sub(r"\(\d+ times\)", "(… times)", text)
    return re.sub(r"\s+", " ", text).strip()


def look(host: Machine) -> None:
    host.run("systemctl start proxmox-graph-mail-watch.service", check=False)


def motd(host: Machine) -> str:
    return host.run("sh /etc/update-motd.d/60-proxmox-graph-mail", check=False).stdout.strip()


def failed_units(host: Machine) -> str:
    return host.run("systemctl --failed --no-legend --plain").stdout


def the_alarm(host: Machine, since: float) -> tuple[str, str]:
    """What the journal's alarm says, and what the admin's command was told."""
    given = [line.partition("ALARM: ")[2] for line in host.journal("-p", "crit", since=since).splitlines() if "ALARM: " in line]
    told = [line.partition("]: ")[2] for line in host.journal("-t", "told", since=since).splitlines()]
    return "; and ".join(given), next((line for line in told if "all clear" not in line), "")


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_broken_host_says_so_everywhere(impatient: Machine, tenant: Tenant, row: Row) -> None:
    """Nagios, check, journal, login message, the admin's command and `systemctl --failed`; mended, it is clear by itself."""
    host = impatient
    tenant.start()
    tenant.reset()
    settle(host, tenant, ALARM_COMMAND="'logger -t told -s 2>&1'")
    host.run(f"chown root:proxmox-graph-mail {CONF}; chmod 640 {CONF}; sendmail root </dev/null")
    eventually(lambda: host.run("mailq", check=False).stdout == "Mail queue is empty\n", "the host is well", 60)
    look(host)
    begun = time.time()
    if row.breaks.startswith("tenant: "):
        change: dict[str, Any] = {"roles": []} if "roles" in row.breaks else {"secret_ended": True}
        tenant.control(revoke=True, **change)
        host.run(f"rm -f {STATE}/token*; systemctl restart proxmox-graph-mail", check=False)
    else:
        host.run(row.breaks, check=False)
    try:
        done = host.run("printf 'Subject: while it is broken\\n\\nx\\n' | sendmail root", check=False, patience=60)
        host.run("systemctl start --no-block proxmox-graph-mail.service", check=False)
        status = f"{done.returncode}" + (f": {done.stderr.strip().partition(': ')[2]}" if done.stderr else "")

        def complete() -> bool:
            look(host)
            given, told = the_alarm(host, begun)
            return bool(given and told and motd(host) and "proxmox-graph-mail" in failed_units(host))

        eventually(complete, f"the alarm of {row.name!r} is given by journal, login message and command", 90)
        took = time.time() - begun
        given, told = the_alarm(host, begun)
        nagios = host.run("proxmox-graph-mail status --nagios", check=False)
        check = host.run("proxmox-graph-mail check", check=False)
        findings = [line for line in check.stdout.splitlines() if line.startswith("fail")]
        said = Said(status, nagios.stdout.partition(" | ")[0], findings[0] if findings else "", given, motd(host), told)
        TABLE.append((row, Said(*map(masked, said)), took))
        print(f"\n{row.name}: {took:.0f} s\n  " + "\n  ".join(f"{name}: {text}" for name, text in said._asdict().items()))
        assert nagios.returncode == 2, nagios.stdout
        assert check.returncode != 0, check.stdout
        assert findings
        assert row.words in given
    finally:
        tenant.start()
        host.run(row.mends, check=False)
        tenant.control(secret_ended=False, roles=["Mail.Send"], revoke=True)
        settle(host, tenant, ALARM_COMMAND="'logger -t told -s 2>&1'")
        host.run(f"chown root:proxmox-graph-mail {CONF}; chmod 640 {CONF}")
        host.run("systemctl reset-failed; systemctl stop proxmox-graph-mail.service", check=False)
        host.run("systemctl start proxmox-graph-mail.socket proxmox-graph-mail.path", check=False)
        host.run("sendmail -q; systemctl start --no-block proxmox-graph-mail.service", check=False)

        def clear() -> bool:
            look(host)
            return not motd(host) and "proxmox-graph-mail" not in failed_units(host)

        with suppress(AssertionError):  # the next row's beginning would say so
            eventually(clear, "all is clear", 90)
    assert not motd(host)
    assert host.run("proxmox-graph-mail status --nagios", check=False).returncode == 0


def table() -> str:
    """The matrix in Markdown."""
    out = [
        "| what is broken | sendmail | status --nagios | check | journal, login message, ALARM_COMMAND | after |",
        "|---|---|---|---|---|---|",
    ]
    for row, said, _ in TABLE:
        cells = (row.name, said.sendmail, said.nagios, re.sub(r"^fail +", "", said.check), said.journal, row.after)
        out.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(out) + "\n"
