"""Kills, reboots, full and read-only disks, a tenant that is down or refuses: nothing is lost, everything drains by itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from proxmox_graph_mail.delivery.index import DEATHS
from tests.acceptance.conftest import settle
from tests.acceptance.machine import Machine, Tenant
from tests.programs import eventually

SPOOL = "/var/spool/proxmox-graph-mail"


def submit(host: Machine, prefix: str, count: int) -> set[str]:
    """Mails of root and of another user; their subjects."""
    for number in range(count):
        user = "root" if number % 2 else "alice"
        host.run(f"printf 'Subject: {prefix} {number}\\n\\nx\\n' | sendmail ops@example.com", user=user)
    return {f"{prefix} {number}" for number in range(count)}


def drained(host: Machine, tenant: Tenant, subjects: set[str], patience: float = 120) -> None:
    """All of them arrive, and the queue empties."""
    eventually(lambda: subjects <= {mail["message"]["subject"] for mail in tenant.accepted()}, "all arrive", patience)
    eventually(lambda: host.run("mailq").stdout == "Mail queue is empty\n", "the queue is empty", patience)


def shown(host: Machine, words: str) -> None:
    """The state is visible in mailq, in systemctl status and in the journal."""
    # An attempt may try for 30 s before it gives its reason.
    eventually(lambda: words in host.run("mailq").stdout, f"mailq says {words!r}", 90)
    eventually(
        lambda: words in host.run("systemctl status --no-pager -l proxmox-graph-mail", check=False).stdout, "so does systemctl"
    )
    assert words in host.journal("-t", "proxmox-graph-mail/runner")


def test_the_remote_is_down_and_comes_back(host: Machine, tenant: Tenant) -> None:
    """Deferred, with the reason; then everything goes by itself, the old and the new."""
    tenant.stop()
    subjects = submit(host, "down", 6)
    shown(host, "cannot connect to")
    assert "6 deferred" in eventually(
        lambda: "6 deferred" in host.status()["StatusText"] and host.status()["StatusText"], "the count is right"
    )
    tenant.start()
    drained(host, tenant, subjects, 150)


def test_a_wrong_secret_then_the_right_one(host: Machine, tenant: Tenant) -> None:
    """Held; the admin mends the file, and no command is needed."""
    settle(host, tenant, GRAPH_CLIENT_SECRET="wrong~secret")
    subjects = submit(host, "wrong secret", 6)
    shown(host, "the client secret is wrong")
    assert "status=held" in host.journal("-t", "proxmox-graph-mail/runner")
    settle(host, tenant)
    drained(host, tenant, subjects)


def test_an_alarm_in_the_middle_of_a_storm(host: Machine, tenant: Tenant) -> None:
    """With the settings as they come: 300 mails of a cron job, and FENCE: it is there at once, the storm is one mail, and nothing of
    the storm is lost."""
    settle(host, tenant, MAILBOX_RATE="", MAILBOX_DAILY_RECIPIENTS="", DIGEST="")
    host.run(
        "for n in $(seq 300); do printf 'Subject: Cron <root@pve1> job %d\\n\\nline %d of it\\n' $n $n | sendmail root; done"
    )
    host.run("printf 'Subject: FENCE: pve2\\nImportance: high\\n\\nx\\n' | sendmail root")
    tenant.arrives("FENCE: pve2", 10)
    assert "FENCE: pve2" in tenant.control()["inbox"]
    eventually(lambda: "gathered with others like it" in host.run("mailq").stdout, "the storm is gathered")
    host.run("proxmox-graph-mail queue flush")
    digests = [mail["message"] for mail in tenant.accepted() if " more] Cron" in mail["message"]["subject"]]
    assert 1 <= len(digests) <= 5
    assert sum(int(digest["subject"].split()[0].strip("[")) for digest in digests) == 295
    assert all(any(file["name"] == "mails.zip" for file in digest["attachments"]) for digest in digests)
    assert host.run("proxmox-graph-mail status --nagios", check=False).returncode == 0
    assert host.run("ls /var/spool/proxmox-graph-mail/digests").stdout == ""


def test_the_secret_from_systemd_creds(host: Machine, tenant: Tenant) -> None:
    """Encrypted in /etc/credstore.encrypted, or named by LoadCredentialEncrypted=; the settings file has none."""
    settle(host, tenant)
    host.run("sed -i /GRAPH_CLIENT_SECRET/d /etc/proxmox-graph-mail.conf")
    secret = tenant.about["secret"]
    try:
        host.run("mkdir -p -m 700 /etc/credstore.encrypted")
        host.run(
            "systemd-creds encrypt --with-key=host --name=graph_client_secret - /etc/credstore.encrypted/graph_client_secret",
            stdin=secret,
        )
        # Restarted as the manual says: a runner has the credentials of its start, and a byte left in the FIFO may start one at
        # any time.
        host.run("systemctl restart proxmox-graph-mail.service")
        drained(host, tenant, submit(host, "credstore", 2))
        host.run("mv /etc/credstore.encrypted/graph_client_secret /etc/pgm.cred")
        host.run("mkdir -p /etc/systemd/system/proxmox-graph-mail.service.d")
        host.write(
            "/etc/systemd/system/proxmox-graph-mail.service.d/secret.conf",
            "[Service]\nLoadCredentialEncrypted=graph_client_secret:/etc/pgm.cred\n",
        )
        host.run("systemctl daemon-reload && systemctl restart proxmox-graph-mail.service")
        drained(host, tenant, submit(host, "load credential", 2))
        # The admin's own flush has no credential; the runner that it wakes has.
        host.run("systemctl stop proxmox-graph-mail.path proxmox-graph-mail.service 2>/dev/null")
        host.run("printf 'Subject: flushed\\n\\n' | sendmail -odq ops@example.com")
        assert host.run("proxmox-graph-mail queue flush").stdout.startswith("1 sent")
        seen = host.run(f"systemctl show proxmox-graph-mail.service; cat /proc/{host.status()['MainPID']}/environ").stdout
        assert "CREDENTIALS_DIRECTORY=" in seen
        assert secret not in seen
    finally:
        host.run("rm -rf /etc/systemd/system/proxmox-graph-mail.service.d /etc/pgm.cred; systemctl daemon-reload")
        host.run("systemctl stop proxmox-graph-mail.service 2>/dev/null; systemctl start proxmox-graph-mail.path")


def test_the_cluster_s_settings_do_no_harm(host: Machine, tenant: Tenant) -> None:
    """/etc/pve/priv is root's alone, as pmxcfs makes it: the queue runner goes on with the host's own file."""
    host.run("mkdir -p /etc/pve/priv && echo GRAPH_SENDER=other@example.com > /etc/pve/priv/proxmox-graph-mail.conf")
    host.run("chown -R root:www-data /etc/pve && chmod 700 /etc/pve/priv && chmod 600 /etc/pve/priv/*")
    host.run("systemctl stop proxmox-graph-mail.service 2>/dev/null")
    drained(host, tenant, submit(host, "on a cluster", 2))
    host.run("rm -r /etc/pve")


def test_the_runner_is_killed_again_and_again(host: Machine, tenant: Tenant) -> None:
    """SIGKILL with mail in flight: systemd starts it again, nothing is lost, and no more comes twice than was in flight."""
    tenant.control(latency=0.3)
    subjects = submit(host, "killed", 24)
    for _ in range(3):
        eventually(lambda: tenant.control()["counts"]["in_flight"] and host.kill(), "it sends, and is killed")
    tenant.control(latency=0.0)
    drained(host, tenant, subjects)
    got = [mail["message"]["subject"] for mail in tenant.accepted()]
    print(f"\n24 mails, three kills: {len(got) - 24} came twice")
    assert len(got) <= 24 + 12
    ids: dict[str, set[str]] = {mail["message"]["subject"]: set() for mail in tenant.accepted()}
    for mail in tenant.accepted():
        ids[mail["message"]["subject"]].add(mail["message"]["internetMessageId"])
    assert all(len(found) == 1 for found in ids.values())


def test_a_mail_that_kills_the_runner_does_not_stop_the_others(host: Machine, tenant: Tenant) -> None:
    """Killed with the same mail in hand again and again: the others go first, and that one is held and named."""
    tenant.control(faults=[{"on": "sendMail", "do": "hang", "times": 10, "seconds": 60}])
    host.run("systemctl reset-failed proxmox-graph-mail.service 2>/dev/null", check=False)
    host.run("printf 'Subject: deadly\\n\\n' | sendmail ops@example.com")
    for _ in range(DEATHS):
        eventually(lambda: tenant.control()["counts"]["in_flight"] == 1, "it is in flight", 90)  # restarts come ever more slowly
        eventually(host.kill, "it is killed")
        tenant.control(end_hangs=True)
        eventually(lambda: tenant.control()["counts"]["in_flight"] == 0, "the request is over")
    shown(host, f"the queue runner crashed {DEATHS} times while sending this message")
    tenant.control(faults=[])
    others = submit(host, "innocent", 3)
    eventually(lambda: others <= {mail["message"]["subject"] for mail in tenant.accepted()}, "the others arrive")
    host.run("proxmox-graph-mail queue retry ALL")
    drained(host, tenant, {"deadly"})


def test_a_stop_does_not_wait_for_a_silent_graph(host: Machine, tenant: Tenant) -> None:
    """Twenty seconds at most; what had no answer is uncertain, and the journal says so; then it goes."""
    tenant.control(faults=[{"on": "sendMail", "do": "hang", "times": 4, "seconds": 120}])
    subjects = submit(host, "silent", 4)
    eventually(lambda: tenant.control()["counts"]["in_flight"] > 0, "it is in flight")
    begun = time.monotonic()
    host.run("systemctl stop proxmox-graph-mail.path proxmox-graph-mail.socket proxmox-graph-mail.service", patience=60)
    took = time.monotonic() - begun
    print(f"\nstopped in {took:.1f} s with a silent Graph")
    assert took < 20
    assert "broke off" in host.journal("-t", "proxmox-graph-mail/runner")
    tenant.control(faults=[], end_hangs=True)
    host.run("systemctl start proxmox-graph-mail.path proxmox-graph-mail.socket; sendmail -q")
    drained(host, tenant, subjects)


def test_a_host_without_its_directories_says_so_within_seconds(host: Machine, tenant: Tenant) -> None:
    """The spool, or the runtime directory, is gone: 75, which, and the command that makes it; root and others alike."""
    remedy = "systemd-tmpfiles --create proxmox-graph-mail.conf"
    host.run(
        f"systemctl stop proxmox-graph-mail.path proxmox-graph-mail.socket proxmox-graph-mail.service; mv {SPOOL} {SPOOL}.away"
    )
    for user in ("root", "alice"):
        begun = time.monotonic()
        done = host.run("echo x | sendmail root", user=user, check=False)
        assert (done.returncode, remedy in done.stderr) == (75, True), done.stderr
        assert time.monotonic() - begun < 6
    assert remedy in host.run("proxmox-graph-mail check --offline", check=False).stdout
    host.run(f"{remedy}; rm -r {SPOOL}; mv {SPOOL}.away {SPOOL}; rm -rf /run/proxmox-graph-mail")
    begun = time.monotonic()
    done = host.run("echo x | sendmail root", user="alice", check=False)
    assert (done.returncode, "is proxmox-graph-mail-submit.socket running?" in done.stderr) == (75, True), done.stderr
    assert time.monotonic() - begun < 6
    assert "is missing: only root can submit mail" in host.run("proxmox-graph-mail check --offline", check=False).stdout
    host.run(
        f"{remedy}; systemctl stop proxmox-graph-mail.service; systemctl restart 'proxmox-graph-mail*.socket'; systemctl start proxmox-graph-mail.path proxmox-graph-mail.socket"
    )
    drained(host, tenant, submit(host, "there again", 2))


def test_a_new_host_name_is_in_the_next_mail(host: Machine, tenant: Tenant) -> None:
    """X-Queue-ID and the sender's name; no restart."""
    drained(host, tenant, submit(host, "old name", 1))
    host.run("hostname pve9")
    try:
        host.run("printf 'Subject: new name\\n\\nx\\n' | sendmail root")
        mail = tenant.arrives("new name")
        headers = {header["name"]: header["value"] for header in mail["message"]["internetMessageHeaders"]}
        assert "pve9" in headers["X-Queue-ID"]
    finally:
        host.run("hostname pve1")


def test_the_alarm_goes_with_the_package(host: Machine, tenant: Tenant) -> None:
    """The login message's script stays as configuration: it says nothing of a program that is gone."""
    host.run("systemctl stop proxmox-graph-mail-submit.socket")

    def shown_at_login() -> str:
        return host.run("sh /etc/update-motd.d/60-proxmox-graph-mail").stdout

    # The watch looks once a minute by its own timer, and says what it has seen twice.
    eventually(lambda: "is not active" in shown_at_login(), "the alarm is shown", 180)
    host.run("mv /usr/sbin/proxmox-graph-mail /root/")  # as after apt remove
    assert shown_at_login() == ""
    host.run("mv /root/proxmox-graph-mail /usr/sbin/; systemctl start proxmox-graph-mail-submit.socket")
    host.run(
        "systemctl stop proxmox-graph-mail-watch.timer; rm -f /run/proxmox-graph-mail-watch/*; systemctl start proxmox-graph-mail-watch.timer"
    )


def test_what_the_admin_stopped_stays_stopped(host: Machine, tenant: Tenant) -> None:
    """Mail is taken and kept; nobody starts a pass in the units' place; started again, it goes."""
    host.run("systemctl stop proxmox-graph-mail.path proxmox-graph-mail.socket proxmox-graph-mail.service 2>/dev/null")
    for user in ("root", "alice"):
        host.run("printf 'Subject: stopped\\n\\n' | sendmail ops@example.com", user=user)
    assert host.run(["pgrep", "-f", "proxmox_graph_mail"], check=False).stdout == ""
    assert "2 queued" in host.run("mailq").stdout
    host.run("systemctl start proxmox-graph-mail.path")
    drained(host, tenant, {"stopped"})
    assert len(tenant.accepted()) == 2


@contextmanager
def full_disk(host: Machine) -> Iterator[None]:
    """/var has no block left, not even root's reserve."""
    host.run("fallocate -l $(df --output=avail -B1 /var | tail -n 1) /var/ballast", check=False)
    for size in ("1M", "4k", "4k"):  # what is left, until nothing is: the file system lets go of some blocks late
        host.run(
            f"dd if=/dev/zero of=/var/ballast-{size} bs={size} oflag=append conv=notrunc,fsync 2>/dev/null; sync", check=False
        )
    try:
        yield
    finally:
        host.run("rm -f /var/ballast*; sync")


def test_a_full_disk_refuses_and_loses_nothing(host: Machine, tenant: Tenant) -> None:
    """sendmail says 75 and why; what was in the queue is sent; room again, and all is as before."""
    tenant.stop()
    before = submit(host, "before it was full", 4)
    with full_disk(host):
        for user in ("root", "alice"):
            done = host.run("printf 'Subject: refused\\n\\nx\\n' | sendmail ops@example.com", user=user, check=False)
            assert done.returncode == 75
            assert "disk" in done.stderr, done.stderr
            assert "refused: " in host.journal("-t", "proxmox-graph-mail/sendmail")
        tenant.start()  # its own folder is elsewhere
        drained(host, tenant, before, 150)
    after = submit(host, "after", 2)
    drained(host, tenant, after)
    assert not any(mail["message"]["subject"] == "refused" for mail in tenant.accepted())


def test_a_read_only_var_refuses_and_loses_nothing(host: Machine, tenant: Tenant) -> None:
    """As ext4 does after an error: sendmail says 75; sent mails are not sent again; writable again, all goes on."""
    tenant.control(latency=0.5)
    before = submit(host, "before", 8)
    host.run("mount --bind -o ro /var /var")
    try:
        host.run("mailq && proxmox-graph-mail queue list")  # looking needs no right to write: both end with 0
        test = host.run("proxmox-graph-mail test", check=False)
        assert (test.returncode, "is read-only; look at the disk" in test.stderr) == (75, True), test.stderr
        for user in ("root", "alice"):
            done = host.run("printf 'Subject: refused\\n\\nx\\n' | sendmail ops@example.com", user=user, check=False)
            assert done.returncode == 75
            assert "Read-only file system" in done.stderr
        eventually(lambda: before <= {mail["message"]["subject"] for mail in tenant.accepted()}, "what was queued is sent")
    finally:
        host.run("umount /var")
        tenant.control(latency=0.0)
    drained(host, tenant, before | submit(host, "after", 2))
    assert len(tenant.accepted()) == 10


def test_a_reboot_with_a_full_queue(host: Machine, tenant: Tenant) -> None:
    """Shut down in order, and once by a crash: the queue is there, and drains without a command after the boot."""
    for end in (host.shut_down, host.crash):
        tenant.stop()
        subjects = submit(host, f"across {end.__name__}", 20)
        end()
        host.boot()
        assert host.run("mailq --json | grep -c '\"id\"'").stdout.strip() == "20"
        eventually(lambda: host.status()["ActiveState"] == "active", "the runner is started by the boot, for mail waits")
        tenant.start()
        host.run("systemctl restart proxmox-graph-mail")  # instead of waiting for the minute of the next attempt
        host.run("sendmail -q")
        drained(host, tenant, subjects)
