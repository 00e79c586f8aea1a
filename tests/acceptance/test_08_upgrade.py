"""Upgrades under load, removal, purge, and Postfix back again."""

import subprocess

from tests.acceptance.conftest import settle
from tests.acceptance.machine import Machine, Tenant
from tests.programs import TREE, eventually

STORM = """
import json, subprocess, sys, threading, time
user, stop = sys.argv[1], time.time() + float(sys.argv[2])
accepted, refused = [], []
def send(lane):
    number = 0
    while time.time() < stop:
        number += 1
        subject = f"{user} {lane} {number}"
        message = f"Subject: {subject}\\n\\nx\\n".encode()
        done = subprocess.run(["/usr/sbin/sendmail", "ops@example.com"], input=message, capture_output=True)
        (refused if done.returncode else accepted).append(subject if not done.returncode else f"{done.returncode} {done.stderr.decode()}")
lanes = [threading.Thread(target=send, args=(lane,)) for lane in range(3)]
for lane in lanes: lane.start()
for lane in lanes: lane.join()
json.dump({"accepted": accepted, "refused": refused}, open(f"/tmp/storm-{user}.json", "w"))
"""


def test_an_upgrade_during_a_storm_loses_none(host: Machine, tenant: Tenant) -> None:
    """From the previous build to this one and back, while root and a user send: each mail is taken, and arrives."""
    import json

    subprocess.run([TREE / "packaging" / "build-deb", "~previous"], check=True, stdout=subprocess.DEVNULL)
    (previous,) = (TREE / "dist").glob("*~previous_all.deb")
    host.run(f"cp /srv/project/dist/{previous.name} /root/")
    subprocess.run([TREE / "packaging" / "build-deb"], check=True, stdout=subprocess.DEVNULL)
    host.run(f"dpkg -i /root/{previous.name} 2>&1")
    host.write("/srv/storm.py", STORM)
    settle(host, tenant, USER_DAILY_RECIPIENTS="0")  # one user sends more than a user may
    host.run("systemctl restart proxmox-graph-mail.service")
    host.run("systemctl enable --now proxmox-graph-mail-smtp.socket")
    for user in ("root", "alice"):
        host.run(f"systemd-run --quiet --unit=storm-{user} --uid={user} python3 /srv/storm.py {user} 15")
    eventually(lambda: len(tenant.accepted()) > 10, "the storm blows")
    current = host.run("ls /root/proxmox-graph-mail_*_all.deb | grep -v previous").stdout.strip()
    for deb in (current, f"/root/{previous.name}", current):
        host.run(f"dpkg -i {deb} 2>&1")
    eventually(
        lambda: host.run("systemctl is-active storm-root storm-alice", check=False).stdout.split() == ["inactive"] * 2,
        "it is over",
        90,
    )
    for user in ("root", "alice"):
        told = json.loads(host.run(f"cat /tmp/storm-{user}.json").stdout)
        print(f"\n{user}: {len(told['accepted'])} mails during three upgrades")
        assert told["refused"] == []
        assert len(told["accepted"]) > 20
        wanted = set(told["accepted"])
        eventually(lambda wanted=wanted: wanted <= {m["message"]["subject"] for m in tenant.accepted()}, "all arrive", 120)  # type: ignore[misc]
    assert host.run("ls /usr/share/proxmox-graph-mail").stdout.split() == ["0.1.0", "proxmox-graph-mail.conf.example"]
    assert (
        host.run(
            "systemctl is-active proxmox-graph-mail.path proxmox-graph-mail.socket proxmox-graph-mail-submit.socket proxmox-graph-mail-smtp.socket"
        ).stdout.split()
        == ["active"] * 4
    )


def test_postfix_back_keeps_our_queue_and_ours_again_sends_it(host: Machine, tenant: Tenant) -> None:
    """apt install postfix: ours goes and says what waits; the settings stay; ours again, and it is sent."""
    tenant.stop()
    host.run("printf 'Subject: left behind\\n\\nx\\n' | sendmail root")
    done = host.run("DEBIAN_FRONTEND=noninteractive apt-get install -y postfix 2>&1")
    assert "proxmox-graph-mail: 1 unsent message(s) stay in /var/spool/proxmox-graph-mail" in done.stdout
    assert host.run("dpkg-query -W -f '${db:Status-Abbrev}' proxmox-graph-mail").stdout == "rc "
    assert "Postfix" in host.run("systemctl status --no-pager postfix; printf 'Subject: x\\n\\n' | sendmail root; mailq").stdout
    assert host.run("postqueue -p").stdout.count("someone@example.com") == 3
    eventually(lambda: "master" in host.run("ss -Hltnp sport = :25").stdout, "port 25 is Postfix's again")
    assert host.run(["pgrep", "-f", "proxmox-graph-mail run"], check=False).stdout == ""
    assert host.run("systemctl list-units --no-legend 'proxmox-graph-mail*'").stdout == ""
    assert host.run("ls /run/proxmox-graph-mail 2>/dev/null", check=False).stdout == ""
    assert (
        host.run("test -s /etc/proxmox-graph-mail.conf; ls /usr/share/proxmox-graph-mail 2>/dev/null", check=False).stdout == ""
    )
    tenant.start()
    host.run("DEBIAN_FRONTEND=noninteractive apt-get install -y $(ls /root/proxmox-graph-mail_*_all.deb | grep -v previous) 2>&1")
    tenant.arrives("left behind", 90)
    eventually(lambda: host.run("ss -Hltn sport = :25").stdout == "", "Postfix's daemon has ended this time too")


def test_purge_leaves_nothing(host: Machine, tenant: Tenant) -> None:
    """No file, no user, no unit; and a new installation begins anew."""
    host.run("printf 'Subject: x\\n\\n' | sendmail -odq root")
    host.run("apt-get purge -y proxmox-graph-mail 2>&1")
    left = host.run("find / -xdev -name '*proxmox?graph?mail*' -not -path '/proc/*' -not -path '/srv/*' -not -path '/root/*'; "
                    "find /var /run -xdev -name '*proxmox?graph?mail*'").stdout.split()  # fmt: skip
    assert [path for path in left if not path.startswith("/var/log/")] == []
    assert host.run("getent passwd proxmox-graph-mail; getent group proxmox-graph-mail", check=False).stdout == ""
    assert host.run("systemctl list-unit-files --no-legend 'proxmox-graph-mail*'", check=False).stdout == ""
    host.run("DEBIAN_FRONTEND=noninteractive apt-get install -y $(ls /root/proxmox-graph-mail_*_all.deb | grep -v previous) 2>&1")
    assert host.run("grep -c '^[A-Z]' /etc/proxmox-graph-mail.conf", check=False).stdout.strip() == "0"
    settle(host, tenant)
