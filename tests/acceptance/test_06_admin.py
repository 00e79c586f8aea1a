"""The admin's five minutes: from the package to a mail at Graph, by what an admin types; and the alarm."""

import time

from tests.acceptance.conftest import settle
from tests.acceptance.machine import Machine, Tenant, people
from tests.programs import eventually
from tests.terminal import Terminal


def test_five_minutes_from_the_package_to_a_mail(host: Machine, tenant: Tenant) -> None:
    """The settings are the package's example; every answer is typed; then check, test and status say that all is well."""
    host.run("cp /usr/share/proxmox-graph-mail/proxmox-graph-mail.conf.example /etc/proxmox-graph-mail.conf")
    host.run("chown root:proxmox-graph-mail /etc/proxmox-graph-mail.conf && chmod 0640 /etc/proxmox-graph-mail.conf")
    about = tenant.about
    begun = time.monotonic()
    screen = Terminal(host.command("proxmox-graph-mail", "setup"), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    for words, answer in (
        ("Make a certificate on this host", "n"), ("Paste the block", ""), ("Directory (tenant) ID", about["tenant"]),
        ("Application (client) ID", about["client"]), ("Client secret", about["secret"]),
        ("When it ends", "2028-06-30"), ("Mailbox to send as", about["sender"]), ("Who gets mail for root", "admin@example.com"),
    ):  # fmt: skip
        screen.until(words)
        if words in ("Client secret", "Paste the block"):
            screen.until_hidden()
        screen.type(answer)
    assert screen.close() == 0, screen.screen
    assert time.monotonic() - begun < 300
    print(f"\n{screen.screen}")
    assert about["secret"] not in screen.screen
    assert host.run("stat -c '%U %G %a' /etc/proxmox-graph-mail.conf").stdout == "root proxmox-graph-mail 640\n"
    assert people(tenant.accepted()[0]) == ["admin@example.com"]
    done = host.run("NO_COLOR=1 proxmox-graph-mail check")
    print(done.stdout)
    assert "fail" not in done.stdout
    assert "ok    sendmail      /usr/sbin/sendmail belongs to proxmox-graph-mail" in done.stdout
    assert "ok    units         all active" in done.stdout
    assert "arrived at Graph" in host.run("proxmox-graph-mail test").stdout
    status = host.run("proxmox-graph-mail status").stdout
    print(status)
    assert "queue:        empty" in status
    assert "queue runner: active" in status
    assert host.run("proxmox-graph-mail status --nagios").stdout.startswith("OK - no problems")


def test_the_secret_is_on_no_command_line_and_in_no_output(host: Machine, tenant: Tenant) -> None:
    """Of check, status and log."""
    secret = tenant.about["secret"]
    for command in ("check --json", "status --json", "log --json", "queue list --json", "check --offline"):
        done = host.run(f"proxmox-graph-mail {command}", check=False)
        assert secret not in done.stdout + done.stderr


def test_the_alarm_is_seen_at_the_login_and_in_the_journal(host: Machine, tenant: Tenant) -> None:
    """The tenant refuses for a quarter of an hour (the clock is helped on); then all is clear."""
    settle(host, tenant, GRAPH_CLIENT_SECRET="wrong~secret")
    host.run("printf 'Subject: alarm\\n\\nx\\n' | sendmail ops@example.com")
    file = "/var/lib/proxmox-graph-mail/alarm.json"
    eventually(lambda: host.run(f"test -s {file}", check=False).returncode == 0, "it is refused", 60)
    host.run("systemctl stop proxmox-graph-mail.path proxmox-graph-mail.service 2>/dev/null")
    host.run(f'sed -i \'s/"since": [0-9.]*/"since": 1000.0/\' {file}')
    host.run("systemctl start proxmox-graph-mail.path")
    eventually(lambda: "no mail has left" in host.run("run-parts /etc/update-motd.d").stdout, "the login message", 60)
    assert "ALARM: no mail has left this host" in host.journal("-p", "crit", "-t", "proxmox-graph-mail/runner")
    eventually(lambda: "ALARM: " in host.status()["StatusText"], "systemctl status")
    assert host.run("proxmox-graph-mail status --nagios", check=False).returncode == 2
    settle(host, tenant)
    tenant.arrives("alarm", 60)
    eventually(lambda: host.run("run-parts /etc/update-motd.d").stdout.count("no mail has left") == 0, "it is over")
    assert "all clear: mail is leaving this host again" in host.journal("-t", "proxmox-graph-mail/runner")


def test_the_timers_run(host: Machine, tenant: Tenant) -> None:
    """The daily one starts the queue runner; the certificate's has nothing to do with a secret."""
    assert "proxmox-graph-mail-daily.timer" in host.run("systemctl list-timers --no-pager").stdout
    host.run("systemctl stop proxmox-graph-mail.service 2>/dev/null; systemctl start proxmox-graph-mail-rotate.service")
    host.run("systemctl start proxmox-graph-mail.service")
    eventually(lambda: host.status()["ActiveState"] == "active", "it runs")


def test_a_certificate_is_renewed_by_the_timer_s_unit(host: Machine, tenant: Tenant) -> None:
    """In its sandbox, as root; the service user can read the new one, and mail goes on."""
    about = tenant.about
    script = "from proxmox_graph_mail.graph import certificate as c; m = c.make('pve1', days=20); " \
             "open('/etc/proxmox-graph-mail.pem', 'wb').write(m.pem); print(m.public.decode())"  # fmt: skip
    public = host.run(["python3", "-c", f"import sys; sys.path.insert(0, '/srv/project'); {script}"]).stdout
    tenant.control(upload=public)
    host.run("chown root:proxmox-graph-mail /etc/proxmox-graph-mail.pem && chmod 640 /etc/proxmox-graph-mail.pem")
    settle(
        host,
        tenant,
        GRAPH_CLIENT_SECRET="",
        GRAPH_CLIENT_CERTIFICATE="/etc/proxmox-graph-mail.pem",
        GRAPH_OBJECT_ID=about["application"],
    )
    try:
        host.run("systemctl start proxmox-graph-mail-rotate.service")
        assert host.run("ls /etc/proxmox-graph-mail.pem.old /etc/proxmox-graph-mail.pem.keys.json").returncode == 0
        assert host.run("stat -c '%U %G %a' /etc/proxmox-graph-mail.pem").stdout == "root proxmox-graph-mail 640\n"
        host.run("printf 'Subject: renewed\\n\\nx\\n' | sendmail ops@example.com")
        tenant.arrives("renewed")
        assert "is the new certificate, valid until" in host.journal("-t", "proxmox-graph-mail/rotate")
    finally:
        host.run("rm -f /etc/proxmox-graph-mail.pem*")
