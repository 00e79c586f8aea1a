"""An unprivileged user, mallory, against the secret, others' mail and everybody's alarms."""

import time

import pytest

from tests.acceptance.machine import Machine, Tenant, body, people
from tests.programs import eventually

SPOOL = "/var/spool/proxmox-graph-mail"
PROTOCOL = "import json, os, socket, sys, time\npath = '/run/proxmox-graph-mail/submit'\n"
BASIC = '"sender": "m", "recipients": ["ops@example.com"], "full_name": "", "notify": "", "wait": 0'


def victim_s_mail_takes(host: Machine, user: str = "alice") -> float:
    """Seconds that another user's sendmail takes now; it must succeed."""
    started = time.monotonic()
    host.run("printf 'Subject: alarm\\n\\nx\\n' | sendmail -odq root", user=user)
    return time.monotonic() - started


@pytest.mark.parametrize(
    "command",
    [
        "cat /etc/proxmox-graph-mail.conf", "ls /var/lib/proxmox-graph-mail", "cat /var/lib/proxmox-graph-mail/*", f"ls {SPOOL}",
        f"ls {SPOOL}/queue", f"touch {SPOOL}/queue/x", f"touch {SPOOL}/x",
        "proxmox-graph-mail queue flush", "proxmox-graph-mail queue remove ALL --yes", "sendmail -q", "echo > /run/proxmox-graph-mail/wake",
        "rm -f /run/proxmox-graph-mail/submit && test ! -e /run/proxmox-graph-mail/submit", "kill $(pgrep -f 'proxmox-graph-mail run')",
        "systemctl stop proxmox-graph-mail.socket",
    ],
)  # fmt: skip
def test_a_user_cannot(host: Machine, command: str) -> None:
    """Read the secret, the token, or others' mail; write or list the spool; run or stop the queue."""
    host.run("printf 'Subject: x\\n\\n' | sendmail root")
    eventually(lambda: host.status()["ActiveState"] == "active", "the runner runs")
    done = host.run(command, user="mallory", check=False)
    assert done.returncode != 0, done.stdout
    assert "GRAPH" not in done.stdout


def test_a_user_sees_that_user_s_own_mail(host: Machine, tenant: Tenant) -> None:
    """And how much there is besides, without a recipient, a queue ID or a subject of anybody else's."""
    tenant.stop()
    queue_id = host.run("printf 'Subject: private\\n\\nx\\n' | sendmail -v secret@example.com").stdout.split()[-1]
    host.run("printf 'Subject: own\\n\\nx\\n' | sendmail mine@example.com", user="mallory")
    for command in ("mailq", "proxmox-graph-mail queue list", "mailq --json"):
        listed = host.run(command, user="mallory").stdout
        assert "mine@example.com" in listed
        assert "secret@example.com" not in listed
        assert queue_id not in listed
    assert "Other users' mail" in host.run("mailq", user="mallory").stdout
    tenant.start()


def test_a_user_cannot_read_a_mail_by_its_name(host: Machine, tenant: Tenant) -> None:
    """Not even one whose queue ID is known."""
    tenant.stop()
    queue_id = host.run("printf 'Subject: private\\n\\nx\\n' | sendmail -v root").stdout.split()[-1]
    for path in (f"{SPOOL}/queue/{queue_id}", f"{SPOOL}/failed/{queue_id}"):
        assert host.run(f"cat {path}", user="mallory", check=False).returncode != 0
    assert host.run(f"proxmox-graph-mail queue show {queue_id}", user="mallory", check=False).returncode == 77
    tenant.start()


def test_a_user_cannot_be_another(host: Machine, tenant: Tenant) -> None:
    """The uid is the kernel's, whatever environment, options or protocol say."""
    host.run("systemctl stop proxmox-graph-mail.path proxmox-graph-mail.socket proxmox-graph-mail.service 2>/dev/null")
    host.run("printf 'Subject: x\\n\\n' | USER=root LOGNAME=root HOME=/root sendmail -f root -odq root", user="mallory")
    code = PROTOCOL + (
        f"s = socket.socket(socket.AF_UNIX); s.connect(path); s.recv(6)\n"
        f's.sendall(b\'{{{BASIC}, "uid": 0, "arrived": 1, "size": 1}}\\nx\'); print(s.recv(99))\n'
    )
    assert "queued" in host.run(["python3", "-c", code], user="mallory").stdout
    uid = host.run("id -u mallory").stdout.strip()
    rows = host.run("mailq --json | grep '\"uid\"'").stdout.replace(" ", "").replace(",", "").split()
    assert rows == [f'"uid":{uid}'] * 2
    host.run("systemctl start proxmox-graph-mail.path proxmox-graph-mail.socket")


def test_a_user_cannot_inject_an_envelope_field(host: Machine, tenant: Tenant) -> None:
    """Control characters are refused by option and by protocol; nothing is queued, no recipient is added."""
    for argv in (
        ["-f", "m\nBcc: x@example.com", "root"],
        ["ops@example.com\nx@example.com"],
        ["-F", "a\r\nb", "root"],
        ["-N", "a\nb", "root"],
    ):
        assert host.run(["sendmail", *argv], user="mallory", stdin="x", check=False).returncode == 65
    code = PROTOCOL + (
        "for who in ('a\\nb', 'a\\r\\nBcc: c', 'a\\x00b', 'a\\x1b[2J'):\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect(path); s.recv(6)\n"
        "    asked = {'sender': who, 'recipients': ['ops@example.com'], 'full_name': '', 'notify': '', 'wait': 0, 'size': 1}\n"
        "    s.sendall(json.dumps(asked).encode() + b'\\nx'); print(s.recv(99).decode().split()[0:2])\n"
    )
    assert host.run(["python3", "-c", code], user="mallory").stdout.splitlines() == ["['refused', '65']"] * 4
    host.run("sendmail -odi -t", user="mallory", stdin="To: ops@example.com\nSubject: a\r\nBcc: x@example.com\n\nx")
    mail = tenant.arrives("a")
    assert "x@example.com" not in people(mail)


@pytest.mark.parametrize("kind", ["half-open", "stalled", "flood"])
def test_connections_of_one_user_do_not_stop_another_s_mail(host: Machine, tenant: Tenant, kind: str) -> None:
    """400 connections held open, silent or in the middle of a request; or made and dropped as fast as can be."""
    sent = f'{{{BASIC}, "size": 1000}}\\nhalf'
    hold = {
        "half-open": "s.shutdown(socket.SHUT_WR)",
        "stalled": f"s.sendall(b'{sent}')",
        "flood": "s.close(); held.clear(); continue",
    }[kind]
    code = PROTOCOL + (
        "held, end = [], time.time() + 25\n"
        "print('begun', flush=True)\n"
        "while time.time() < end:\n"
        "    if len(held) < 400:\n"
        "        s = socket.socket(socket.AF_UNIX)\n"
        "        try:\n"
        f"            s.connect(path); held.append(s); {hold}\n"
        "        except OSError: pass\n"
        "    else: time.sleep(0.2); held.clear()\n"
    )
    host.run("systemctl reset-failed; systemd-run --quiet --unit=attack --uid=mallory --collect python3 -", stdin="")
    host.run("systemctl stop attack 2>/dev/null", check=False)
    host.write("/srv/attack.py", code)
    host.run("systemd-run --quiet --unit=attack --uid=mallory --collect python3 /srv/attack.py")
    eventually(
        lambda: kind != "stalled" or int(host.run("pgrep -cf proxmox-graph-mail-receive").stdout) > 16, "the limit is reached"
    )
    took = [victim_s_mail_takes(host) for _ in range(5)]
    root = [victim_s_mail_takes(host, "root") for _ in range(3)]
    host.run("systemctl stop attack", check=False)
    print(f"\nunder {kind}: another user's mail taken in {max(took):.2f} s at most, root's in {max(root):.2f} s")
    assert max(took) < 8
    assert max(root) < 2
    assert host.status("proxmox-graph-mail-submit.socket")["ActiveState"] == "active"


def test_two_hundred_mails_of_one_user_at_once(host: Machine, tenant: Tenant) -> None:
    """More than one user may have receivers: the rest wait for theirs, and none is refused."""
    code = (
        "import subprocess\n"
        "all = [subprocess.Popen(['sendmail', 'ops@example.com'], stdin=subprocess.PIPE) for _ in range(200)]\n"
        "for number, one in enumerate(all):\n"
        "    one.stdin.write(b'Subject: storm %d\\n\\nx\\n' % number); one.stdin.close()\n"
        "print([one.wait() for one in all].count(0))\n"
    )
    started = time.monotonic()
    assert host.run(["python3", "-c", code], user="www-data").stdout.strip() == "200"
    print(f"\n200 mails of another user at once were taken in {time.monotonic() - started:.1f} s")
    wanted = {f"storm {number}" for number in range(200)}
    eventually(lambda: wanted <= {mail["message"]["subject"] for mail in tenant.accepted()}, "all arrive", 120)
    assert len(tenant.accepted()) == 200


def test_a_flood_of_one_user_s_mail_does_not_delay_another_s(host: Machine, tenant: Tenant) -> None:
    """Users take turns: an alarm passes the 300 mails that came before it."""
    host.run("systemctl stop proxmox-graph-mail.path proxmox-graph-mail.socket proxmox-graph-mail.service 2>/dev/null")
    code = (
        "import subprocess\n"
        "for number in range(300): subprocess.run(['sendmail', '-odq', 'ops@example.com'], input=b'Subject: bulk\\n\\nx\\n', check=True)\n"
    )
    host.run(["python3", "-c", code], user="mallory")
    victim_s_mail_takes(host)
    tenant.control(latency=0.2)
    host.run("systemctl start proxmox-graph-mail.path proxmox-graph-mail.socket")
    tenant.arrives("alarm")
    tenant.control(latency=0.0)
    place = [mail["message"]["subject"] for mail in tenant.accepted()].index("alarm")
    print(f"\nthe alarm was number {place + 1} of 301")
    assert place < 12
    eventually(lambda: len(tenant.accepted()) == 301, "the rest arrives", 120)


def test_giants_leave_room_for_others(host: Machine, tenant: Tenant) -> None:
    """One user fills what he may, half of the free disk; he is told so, and others' mail is taken."""
    tenant.stop()
    free = int(host.run("df --output=avail -B1 /var | tail -n 1").stdout)
    statuses = []
    for _ in range(16):
        done = host.run("head -c 30000000 /dev/zero | sendmail -odq ops@example.com", user="mallory", check=False)
        statuses.append(done.returncode)
    left = int(host.run("df --output=avail -B1 /var | tail -n 1").stdout)
    assert 0 in statuses
    assert statuses[-1] == 75
    assert "free some space" in done.stderr
    assert left > free * 0.4
    victim_s_mail_takes(host)
    host.run("head -c 10000000 /dev/zero | sendmail -odq ops@example.com", user="alice")
    host.run("proxmox-graph-mail queue remove ALL --yes")
    tenant.start()


def test_a_message_over_the_limit_is_refused(host: Machine) -> None:
    """300 MB: 69, and nothing is left of it."""
    done = host.run("head -c 300000000 /dev/zero | sendmail ops@example.com", user="mallory", check=False)
    assert done.returncode == 69
    assert int(host.run(f"du -sb {SPOOL}/queue | cut -f1").stdout) < 100_000


def _bomb(kind: str) -> str:
    """Python that writes a message made to keep a parser busy, or to fill its memory."""
    return {
        "nested": "b''.join(b'Content-Type: multipart/mixed; boundary=b%d\\n\\n--b%d\\n' % (i, i) for i in range(900)) + b'\\n' * 300000",
        "lines": "b'Subject: lines\\n\\n' + b'\\xe9\\xe4\\xfc\\n' * 4900000",
        "texts": "b'Subject: texts\\nContent-Type: multipart/mixed; boundary=b\\n\\n' + (b'--b\\n\\n' + b'y' * 22000 + b'\\n') * 900",
    }[kind]


MEMORY = """
import pathlib, subprocess, time
peak, runner = 0, "0"
while True:
    try:
        threads = list(pathlib.Path(f"/proc/{runner}/task").iterdir())
        pids = {runner, *(child for thread in threads for child in (thread / "children").read_text().split())}
        now = 0
        for pid in pids:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            now += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1000
    except (OSError, StopIteration):
        shown = subprocess.run(["systemctl", "show", "-P", "MainPID", "proxmox-graph-mail.service"], capture_output=True, text=True)
        runner = shown.stdout.strip() or "0"
        continue
    if now > peak:
        peak = now
        pathlib.Path("/srv/peak").write_text(str(peak))
    time.sleep(0.05)
"""
"""Samples what the queue runner and its children take together, in megabytes, shared pages counted once."""


def test_bombs_do_not_delay_root_s_alarm(host: Machine, tenant: Tenant) -> None:
    """Twelve of mallory's, of three kinds, in hand and waiting: root's mail goes beside them; each arrives somehow; the memory of the
    queue runner and its children stays within bounds."""
    host.run("systemctl stop proxmox-graph-mail.path proxmox-graph-mail.socket proxmox-graph-mail.service 2>/dev/null")
    for kind in ("nested", "lines", "texts"):
        host.write("/srv/bomb.py", f"import sys; sys.stdout.buffer.write({_bomb(kind)})")
        for _ in range(4):
            host.run("python3 /srv/bomb.py | sendmail -odq ops@example.com", user="mallory")
    host.write("/srv/memory.py", MEMORY)
    host.run("systemctl reset-failed; systemd-run --quiet --unit=memory --collect python3 /srv/memory.py")
    host.run("systemctl start proxmox-graph-mail.path proxmox-graph-mail.socket")
    eventually(lambda: host.status()["ActiveState"] == "active", "the runner runs")
    took = []
    for number in range(5):
        began = time.monotonic()
        host.run(f"printf 'Subject: alarm {number}\\n\\nx\\n' | sendmail root")
        tenant.arrives(f"alarm {number}")
        took.append(time.monotonic() - began)
    eventually(lambda: len(tenant.accepted()) == 17, "all arrive", 240)
    host.run("systemctl stop memory")
    peak = int(host.run("cat /srv/peak").stdout)
    print(f"\nroot's alarms among twelve bombs came after {max(took):.1f} s at most; memory of the runner and its children: {peak:.0f} MB "
          "(limit 400)")  # fmt: skip
    assert max(took) < 10
    assert peak < 400
    pages = [body(mail) for mail in tenant.accepted() if mail["message"]["subject"] == "lines"]
    assert len(pages) == 4
    assert all("parsing it takes too much memory" in page for page in pages)  # the limits hold in the unit's sandbox


def test_one_user_cannot_spend_the_mailbox(host: Machine, tenant: Tenant) -> None:
    """500 recipients in 24 hours; root is free."""
    many = " ".join(f"u{number}@example.com" for number in range(501))
    done = host.run(f"echo x | sendmail -odq {many}", user="mallory", check=False)
    assert done.returncode == 75
    assert "may send to 500 recipients in 24 hours" in done.stderr
    host.run(f"echo x | sendmail -odq {many}")
    host.run("proxmox-graph-mail queue remove ALL --yes")


def test_idle_smtp_connections_of_one_user_leave_room(host: Machine, tenant: Tenant) -> None:
    """Sixteen are served, the rest hear 421; root's mail is taken meanwhile."""
    host.run("systemctl start proxmox-graph-mail-smtp.socket")
    code = (
        "import signal, socket\n"
        "held = [socket.create_connection(('127.0.0.1', 25)) for _ in range(40)]\n"
        "print(sorted(one.recv(3) for one in held).count(b'421'), flush=True)\n"
        "signal.pause()\n"
    )
    host.write("/srv/idle.py", code)
    host.run("systemctl reset-failed; systemd-run --quiet --unit=idle --uid=mallory --collect python3 /srv/idle.py")
    eventually(lambda: "24" in host.journal("-u", "idle").split(), "the limit is reached")
    send = (
        "import smtplib; print(smtplib.SMTP('127.0.0.1', 25, timeout=10).sendmail('root', ['root'], 'Subject: by smtp\\n\\nx'))"
    )
    assert host.run(["python3", "-c", send]).stdout.strip() == "{}"
    tenant.arrives("by smtp")
    host.run("systemctl stop idle proxmox-graph-mail-smtp.socket")
    assert host.status("proxmox-graph-mail-smtp.service")["ActiveState"] == "inactive"


def test_only_a_group_may_submit_where_the_admin_wants_it_so(host: Machine, tenant: Tenant) -> None:
    """docs/installation.md's drop-in, with the receiver running: who is not in the group hears 75; root's own way stays."""
    victim_s_mail_takes(host)
    drop_in = "/etc/systemd/system/proxmox-graph-mail-submit.socket.d/group.conf"
    host.run(f"mkdir -p $(dirname {drop_in}); printf '[Socket]\\nSocketMode=0660\\nSocketGroup=mail\\n' > {drop_in}")
    host.run("systemctl daemon-reload; systemctl restart proxmox-graph-mail-submit.socket")
    done = host.run("echo x | sendmail root", user="mallory", check=False)
    assert (done.returncode, "Permission denied" in done.stderr) == (75, True)
    victim_s_mail_takes(host, "root")
    host.run(f"rm {drop_in}; systemctl daemon-reload; systemctl restart proxmox-graph-mail-submit.socket")
    victim_s_mail_takes(host)
