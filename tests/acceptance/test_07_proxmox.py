"""A Proxmox host: its notification system, its admin's address, its cluster's settings. Proxmox's own programs are stood in for
by tests/proxmox/layer.py, under their names and with their files' modes."""

import time
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import settle
from tests.acceptance.machine import Machine, Tenant, people
from tests.acceptance.test_04_adversity import drained
from tests.programs import eventually

FORWARD = "/usr/libexec/proxmox-mail-forward"
CLUSTER = "/etc/pve/priv/proxmox-graph-mail.conf"
COROSYNC = "nodelist {\n  node {\n    name: pve1\n    ring0_addr: 192.0.2.1\n  }\n}\ntotem {\n  cluster_name: prod\n}\n"


def pmxcfs(machine: Machine) -> None:
    """Owners and modes as pmxcfs forces them."""
    machine.run(
        "chown -R root:www-data /etc/pve && find /etc/pve -type f -exec chmod 0640 {} + && find /etc/pve -type d -exec chmod 0755 {} +"
    )
    machine.run("chmod 0700 /etc/pve/priv && find /etc/pve/priv -type f -exec chmod 0600 {} +")


def notifications(machine: Machine, text: str) -> None:
    machine.write("/etc/pve/notifications.cfg", text)
    pmxcfs(machine)


def refresh(machine: Machine) -> None:
    """As before every start of the queue runner."""
    machine.run("systemctl restart proxmox-graph-mail.service")


@pytest.fixture(scope="module")
def layered(settled: Machine) -> Iterator[Machine]:
    """The machine as a node of a cluster."""
    for path in ("/usr/bin/pvesh", FORWARD):
        settled.run(f"install -D -m 0755 /srv/project/tests/proxmox/layer.py {path}")
    settled.run("mkdir -p /etc/pve/nodes/pve1 /etc/pve/priv")
    settled.write("/etc/pve/user.cfg", "user:root@pam:1:0:Ada::ada%40example.com:::\n")
    settled.write("/etc/pve/corosync.conf", COROSYNC)
    settled.write("/root/.forward", f"|{FORWARD}\n")
    # The stand-in's phone is a file.
    settled.run("mkdir -p /etc/systemd/system/proxmox-graph-mail-hand-over.service.d")
    settled.write("/etc/systemd/system/proxmox-graph-mail-hand-over.service.d/phone.conf", "[Service]\nReadWritePaths=/var/log\n")
    settled.run("systemctl daemon-reload")
    pmxcfs(settled)
    yield settled
    settled.run("rm -r /etc/systemd/system/proxmox-graph-mail-hand-over.service.d; systemctl daemon-reload")
    settled.run(f"rm -rf /etc/pve /root/.forward /usr/bin/pvesh {FORWARD}; /usr/libexec/proxmox-graph-mail-host")
    refresh(settled)


@pytest.fixture
def pve(layered: Machine, host: Machine, tenant: Tenant) -> Iterator[Machine]:
    """…with the four settings and no MAIL_TO; root@pam's address is Proxmox's to know."""
    host.run("cat > /etc/proxmox-graph-mail.conf", stdin="".join(f"{k}={v}\n" for k, v in tenant.settings().items()))
    refresh(host)
    yield host
    host.run(f"rm -f /etc/pve/notifications.cfg {CLUSTER}")


def test_root_s_cron_mail_goes_through_the_notification_system(pve: Machine, tenant: Tenant) -> None:
    """Root's unit hands it over; Proxmox sends it to root@pam's address; once, and the journal tells the way."""
    pve.write("/etc/cron.d/layer", "* * * * * root echo root cron speaks\n")
    try:
        mail = eventually(
            lambda: next((m for m in tenant.accepted() if "root cron speaks" in m["message"]["body"]["content"]), None),
            "it came",
            90,
        )
    finally:
        pve.run("rm /etc/cron.d/layer")
    assert people(mail) == ["ada@example.com"]
    assert mail["message"]["from"]["emailAddress"]["name"] == "root@pve1 (Cron Daemon, prod)"
    assert "relay=proxmox-mail-forward, status=sent" in pve.journal("-t", "proxmox-graph-mail/hand-over")
    drained(pve, tenant, {mail["message"]["subject"]})


def test_other_local_users_mail_goes_to_the_administrator(pve: Machine, tenant: Tenant) -> None:
    """Straight to root@pam's address."""
    pve.run("printf 'Subject: for alice\\n\\nx\\n' | sendmail alice", user="alice")
    assert people(tenant.arrives("for alice")) == ["ada@example.com"]


def test_gotify_works_while_graph_does_not(pve: Machine, tenant: Tenant) -> None:
    """Root's mail reaches the other targets at once; for us it waits."""
    notifications(pve, "gotify: phone\n\tserver https://push.example.com\n\nmatcher: all\n\ttarget phone\n")
    tenant.stop()
    pve.run("printf 'Subject: to the phone\\n\\nx\\n' | sendmail root")
    eventually(lambda: "to the phone" in pve.run("cat /var/log/gotify", check=False).stdout, "the phone has it")
    tenant.start()
    pve.run("proxmox-graph-mail queue flush")
    drained(pve, tenant, {"to the phone"})


@pytest.mark.parametrize("program", ["", "#!/bin/sh\nexit 1\n"], ids=["missing", "failing"])
def test_without_proxmox_mail_forward_it_goes_directly(pve: Machine, tenant: Tenant, program: str) -> None:
    """To root@pam's address."""
    pve.run(f"mv {FORWARD} {FORWARD}.aside")
    try:
        if program:
            pve.write(FORWARD, program, 0o755)
        pve.run("printf 'Subject: direct\\n\\nx\\n' | sendmail root")
        assert people(tenant.arrives("direct")) == ["ada@example.com"]
    finally:
        pve.run(f"mv {FORWARD}.aside {FORWARD}")


@pytest.mark.parametrize(
    ("target", "ruid"),
    [("sendmail: us\n\tmailto root\n", ""), ("sendmail: us\n\tmailto root\n", "nobody"),
     ("smtp: us\n\tserver 127.0.0.1\n\tmode insecure\n\tfrom-address pve@example.com\n\tmailto root@pve1.example.com\n", "")],
    ids=["sendmail as root", "sendmail as nobody", "smtp"],
)  # fmt: skip
def test_a_target_that_mails_local_root_does_not_go_round(pve: Machine, tenant: Tenant, target: str, ruid: str) -> None:
    """It arrives once, and the queue is empty."""
    notifications(pve, f"{target}\nmatcher: all\n\ttarget us\n\nmatcher: default-matcher\n\ttarget us\n")
    pve.run("systemctl start proxmox-graph-mail-smtp.socket")
    if ruid:
        pve.run("mv /usr/libexec/proxmox-mail-forward /usr/libexec/proxmox-mail-forward.real")
        pve.write(FORWARD, f"#!/bin/sh\nLAYER_NAME=proxmox-mail-forward LAYER_RUID=1 exec python3 {FORWARD}.real\n", 0o755)
    try:
        pve.run("printf 'Subject: round\\n\\nx\\n' | sendmail root")
        tenant.arrives("round")
        drained(pve, tenant, {"round"})
        assert [people(mail) for mail in tenant.accepted()] == [["ada@example.com"]]
    finally:
        pve.run("systemctl stop proxmox-graph-mail-smtp.socket")
        if ruid:
            pve.run(f"mv {FORWARD}.real {FORWARD}")


def test_the_cluster_s_settings_are_enough_and_a_change_arrives_within_a_minute(pve: Machine, tenant: Tenant) -> None:
    """The host's own file is empty; then another node writes a sender that is wrong, and the right one again."""
    text = "".join(f"{key}={value}\n" for key, value in tenant.settings().items())
    pve.run("echo > /etc/proxmox-graph-mail.conf")
    pve.write(CLUSTER, text)
    pmxcfs(pve)
    refresh(pve)
    pve.run("printf 'Subject: by the cluster\\n\\nx\\n' | sendmail ops@example.com")
    tenant.arrives("by the cluster")
    tenant.control(mailboxes=["pve@example.com", "other@example.com"])
    pve.write(CLUSTER, text.replace("pve@example.com", "other@example.com"))
    pmxcfs(pve)
    begun = time.monotonic()
    eventually(
        lambda: "other@example.com" in pve.run("cat /var/lib/proxmox-graph-mail-host/cluster.conf").stdout, "it arrives", 60
    )
    pve.run("printf 'Subject: as another\\n\\nx\\n' | sendmail ops@example.com")
    assert tenant.arrives("as another")["mailbox"] == "other@example.com"
    assert time.monotonic() - begun < 60
    tenant.control(mailboxes=["pve@example.com"])


def test_a_runner_that_is_restarted_often_does_not_end_the_refresh(pve: Machine) -> None:
    """Its timer starts with it each time: more often than systemd's limit of five in ten seconds."""
    for _ in range(8):
        refresh(pve)
    assert pve.status("proxmox-graph-mail-host.timer")["ActiveState"] == "active"


def test_setup_writes_the_cluster_s_settings(pve: Machine, tenant: Tenant) -> None:
    """Into /etc/pve/priv, where the cluster's file system says whose it is; every node goes by it."""
    about = tenant.about
    pve.run("echo > /etc/proxmox-graph-mail.conf")
    options = f"--tenant {about['tenant']} --client {about['client']} --sender {about['sender']} --secret-file -"
    done = pve.run(f"proxmox-graph-mail setup --cluster --mail-to admin@example.com {options}", stdin=about["secret"] + "\n")
    assert "ok: wrote /etc/pve/priv/proxmox-graph-mail.conf" in done.stdout
    assert "arrived at Graph" in done.stdout
    checked = pve.run("proxmox-graph-mail check --offline", check=False).stdout
    assert "MAIL_TO from /etc/pve/priv/proxmox-graph-mail.conf" in checked


def test_without_pmxcfs_and_with_a_stuck_one_mail_goes_on(pve: Machine, tenant: Tenant) -> None:
    """The last good copy; a hanging file system costs the runner's start some seconds."""
    text = "".join(f"{key}={value}\n" for key, value in tenant.settings().items())
    pve.run("echo > /etc/proxmox-graph-mail.conf")
    pve.write(CLUSTER, text)
    pmxcfs(pve)
    refresh(pve)
    eventually(lambda: pve.run("test -s /var/lib/proxmox-graph-mail-host/cluster.conf", check=False).returncode == 0, "copied")
    try:
        pve.run("mv /etc/pve /etc/aside && mkdir /etc/pve")
        refresh(pve)
        pve.run("printf 'Subject: pmxcfs is down\\n\\nx\\n' | sendmail alice")
        assert people(tenant.arrives("pmxcfs is down")) == ["ada@example.com"]
        pve.run("rmdir /etc/pve && cp -a /etc/aside /etc/pve && rm /etc/pve/user.cfg && mkfifo /etc/pve/user.cfg")
        begun = time.monotonic()
        refresh(pve)
        assert time.monotonic() - begun < 12
        pve.run("printf 'Subject: pmxcfs is stuck\\n\\nx\\n' | sendmail alice")
        assert people(tenant.arrives("pmxcfs is stuck")) == ["ada@example.com"]
        assert "does not answer within 3 s" in pve.journal("-t", "proxmox-graph-mail/host")
    finally:
        pve.run("rm -rf /etc/pve && mv /etc/aside /etc/pve")


def test_a_backup_server_s_address(pve: Machine, tenant: Tenant) -> None:
    """/etc/proxmox-backup is its own user's alone; root's unit reads it from its sandbox. Where both are installed PVE's counts."""
    pve.run("install -d -m 700 -o backup -g backup /etc/proxmox-backup")
    try:
        pve.run("printf 'user: root@pam\n\temail pbs-admin@example.com\n' > /etc/proxmox-backup/user.cfg")
        pve.run("chown root:backup /etc/proxmox-backup/user.cfg && chmod 640 /etc/proxmox-backup/user.cfg")
        pve.run("mv /etc/pve /etc/aside")
        refresh(pve)
        pve.run("printf 'Subject: of a backup server\n\nx\n' | sendmail alice")
        assert people(tenant.arrives("of a backup server")) == ["pbs-admin@example.com"]
    finally:
        pve.run("rm -rf /etc/proxmox-backup; mv /etc/aside /etc/pve")
        refresh(pve)


def test_a_target_is_added_tested_and_removed(pve: Machine, tenant: Tenant) -> None:
    """Through pvesh; the test waits for what Graph says."""
    assert "matcher all-to-microsoft365" in pve.run("proxmox-graph-mail target add --to alarms@example.com --matcher").stdout
    done = pve.run("proxmox-graph-mail target test microsoft365")
    assert "arrived at Graph" in done.stdout
    assert people(tenant.arrives("Test notification")) == ["alarms@example.com"]
    shown = pve.run("COLUMNS=150 proxmox-graph-mail target show").stdout
    assert "root@pam (ada@example.com)" in shown
    print("\n" + shown)
    pve.run("proxmox-graph-mail target remove microsoft365")


def test_only_what_is_needed_is_left_of_proxmox(settled: Machine, tenant: Tenant) -> None:
    """Its facts are root's, readable by the service group alone."""
    settle(settled, tenant)
    assert settled.run("stat -c '%U %G %a' /var/lib/proxmox-graph-mail-host").stdout == "root proxmox-graph-mail 2750\n"
    for user in ("alice", "nobody"):
        assert settled.run("ls /var/lib/proxmox-graph-mail-host", user=user, check=False).returncode != 0
