"""`apt install ./proxmox-graph-mail_*.deb` on a Debian 13 whose Postfix has mail in its queue."""

import re

from tests.acceptance.conftest import STUCK, settle
from tests.acceptance.machine import Machine, Tenant
from tests.programs import eventually


def test_postfix_goes_and_its_stranded_mail_is_named(machine: Machine, installation: str) -> None:
    """How many, where, and what becomes of them."""
    assert "postfix" in re.search(r"will be REMOVED:\n(.*)\n", installation).group(1)  # type: ignore[union-attr]
    assert f"Postfix left {STUCK} undelivered message(s) in /var/spool/postfix" in installation
    assert machine.run("dpkg-query -W -f '${db:Status-Abbrev}' postfix").stdout == "rc "
    eventually(lambda: machine.run("ss -Hltn sport = :25").stdout == "", "its daemon, which Debian leaves running, has ended")
    assert machine.run("systemctl --failed --plain --no-legend").stdout == ""
    assert machine.run("find /var/spool/postfix/deferred -type f | wc -l").stdout.strip() == str(STUCK)


def test_the_last_line_names_the_next_step(installation: str) -> None:
    """One command; no maintainer script complained on the way."""
    assert "cannot open" not in installation
    assert "dpkg: warning" not in installation
    last = [line for line in installation.splitlines() if line.startswith("proxmox-graph-mail: ")][-1]
    assert last == "proxmox-graph-mail: next, run proxmox-graph-mail setup; mail waits until then."


def test_the_package_satisfies_who_needs_an_mta(machine: Machine, installation: str) -> None:
    """pve-manager's and proxmox-backup-server's `postfix | mail-transport-agent`; nothing is broken."""
    control = "Package: needs-mta\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: x\n"
    control += "Depends: postfix | mail-transport-agent\n"
    machine.run("mkdir -p /tmp/n/DEBIAN && cat > /tmp/n/DEBIAN/control && dpkg-deb -b /tmp/n /tmp/n.deb", stdin=control)
    done = machine.run("apt-get install -y /tmp/n.deb 2>&1")
    assert "postfix" not in done.stdout.partition("Setting up")[0].replace("needs-mta", "")
    machine.run("apt-get remove -y needs-mta && apt-get check")


def test_the_commands_are_where_callers_look(machine: Machine, installation: str) -> None:
    """Each path is one program; -I and -S are in the scripts' first lines; modules are compiled."""
    for path in ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/mailq", "/usr/bin/newaliases"):
        assert machine.run(["readlink", "-f", path]).stdout.strip() == "/usr/sbin/sendmail"
    assert machine.run("head -n 1 /usr/sbin/sendmail").stdout.strip() == "#!/usr/bin/python3 -IS"
    assert machine.run("head -n 1 /usr/libexec/proxmox-graph-mail-receive").stdout.strip() == "#!/usr/bin/python3 -IS"
    assert machine.run("head -n 1 $(readlink -f /usr/sbin/proxmox-graph-mail)").stdout.strip() == "#!/usr/bin/python3 -I"
    sources, compiled = (
        machine.run(f"find /usr/share/proxmox-graph-mail -name '{pattern}' | wc -l").stdout for pattern in ("*.py", "*.pyc")
    )
    assert int(sources) == int(compiled) > 40
    assert machine.run("newaliases; mailq; proxmox-graph-mail --version").stdout.splitlines()[0] == "Mail queue is empty"


def test_files_have_the_modes_that_keep_secrets(machine: Machine, installation: str) -> None:
    """0640 root:proxmox-graph-mail; the spool for the service user's group alone."""
    stat = machine.run(
        "stat -c '%n %a %U:%G' /etc/proxmox-graph-mail.conf /var/spool/proxmox-graph-mail /var/spool/proxmox-graph-mail/queue "
        "/var/spool/proxmox-graph-mail/failed /var/lib/proxmox-graph-mail /run/proxmox-graph-mail/submit /run/proxmox-graph-mail/submit-root /run/proxmox-graph-mail/wake"
    ).stdout.splitlines()
    name = "proxmox-graph-mail"
    assert stat == [
        f"/etc/{name}.conf 640 root:{name}", f"/var/spool/{name} 2770 {name}:{name}", f"/var/spool/{name}/queue 2770 {name}:{name}",
        f"/var/spool/{name}/failed 2770 {name}:{name}", f"/var/lib/{name} 700 {name}:{name}",
        f"/run/{name}/submit 666 root:root", f"/run/{name}/submit-root 600 root:root", f"/run/{name}/wake 660 root:{name}",
    ]  # fmt: skip


def test_the_units_are_sandboxed(machine: Machine, installation: str) -> None:
    """systemd-analyze security: at most 1.5, but for who becomes another user (rotate), and who runs Proxmox's program; no unit file
    has a fault."""
    units = "proxmox-graph-mail.service proxmox-graph-mail.socket proxmox-graph-mail.path proxmox-graph-mail-submit.socket"
    verify = machine.run(f"systemd-analyze verify --man=no {units} proxmox-graph-mail-smtp.socket 2>&1").stdout
    assert "proxmox-graph-mail" not in verify
    limits = {
        "": 1.5,
        "-submit": 1.5,
        "-smtp": 1.5,
        "-host": 1.5,
        "-watch": 1.5,
        "-alarm": 1.5,
        "-hand-over": 4.0,
        "-rotate": 3.0,
    }
    for unit, limit in ((f"proxmox-graph-mail{name}.service", limit) for name, limit in limits.items()):
        text = machine.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
        level = re.search(r"exposure level for \S+: ([\d.]+)", text)
        assert level, text
        print(f"\n{unit}: {level[1]}")
        assert float(level[1]) <= limit, text


def test_without_settings_mail_waits_and_the_reason_is_everywhere(machine: Machine, tenant: Tenant, installation: str) -> None:
    """mailq, systemctl status and the journal say so; with the four settings the mail goes by itself."""
    machine.run(
        "cp /usr/share/proxmox-graph-mail/proxmox-graph-mail.conf.example /tmp/conf && cat /tmp/conf > /etc/proxmox-graph-mail.conf"
    )
    machine.run("printf 'Subject: before the settings\\n\\nx\\n' | sendmail root")
    why = "not set up yet"
    eventually(lambda: why in machine.run("mailq").stdout, "mailq says why")
    assert why in machine.run("systemctl status --no-pager proxmox-graph-mail", check=False).stdout
    assert "1 held" in machine.status()["StatusText"]
    assert why in machine.journal("-t", "proxmox-graph-mail/runner")
    settings = "".join(f"{key}={value}\n" for key, value in tenant.settings().items())
    assert settings.count("\n") == 4
    machine.run("cat > /etc/proxmox-graph-mail.conf", stdin=settings)
    mail = tenant.arrives("before the settings")
    # With nobody named for root, the sending mailbox is, and the log says so.
    assert [person["emailAddress"]["address"] for person in mail["message"]["toRecipients"]] == ["pve@example.com"]
    assert "no administrator is named, so local mail goes to" in machine.journal("-t", "proxmox-graph-mail/runner")
    settle(machine, tenant)


def test_a_second_installation_keeps_the_settings(settled: Machine, deb: object) -> None:
    """Never overwritten."""
    before = settled.run("cat /etc/proxmox-graph-mail.conf").stdout
    settled.run("apt-get install -y --reinstall /root/proxmox-graph-mail_*.deb 2>&1")
    assert settled.run("cat /etc/proxmox-graph-mail.conf").stdout == before
    assert settled.run("stat -c %a /etc/proxmox-graph-mail.conf").stdout.strip() == "640"


def test_man_pages_and_completion_are_there(settled: Machine) -> None:
    """Each command has its page; Tab knows the verbs, the queue IDs, the states and the codes."""
    for page in ("8/sendmail.8", "1/mailq.1", "1/newaliases.1", "8/proxmox-graph-mail.8", "5/proxmox-graph-mail.conf.5"):
        assert settled.run(
            f"zcat /usr/share/man/man{page}.gz | mandoc -T lint -W warning 2>&1; zcat /usr/share/man/man{page}.gz | wc -l"
        )
    complete = (
        "source /usr/share/bash-completion/bash_completion; _comp_load proxmox-graph-mail 2>/dev/null || "
        "source /usr/share/bash-completion/completions/proxmox-graph-mail; "
        'COMP_WORDS=(proxmox-graph-mail %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="${COMP_WORDS[*]}"; '
        'COMP_POINT=${#COMP_LINE}; _proxmox_graph_mail; echo "${COMPREPLY[@]}"'
    )
    assert settled.run(["bash", "-c", complete % "queue re"]).stdout.split() == ["retry", "remove"]
    assert settled.run(["bash", "-c", complete % "log --state d"]).stdout.split() == ["deferred"]
    assert "AADSTS7000222" in settled.run(["bash", "-c", complete % "explain AADSTS70002"]).stdout.split()
    settled.run("systemctl stop proxmox-graph-mail.path proxmox-graph-mail.socket proxmox-graph-mail.service 2>/dev/null")
    queue_id = settled.run("printf 'Subject: x\\n\\n' | sendmail -odq -v root").stdout.split()[-1]
    assert queue_id in settled.run(["bash", "-c", complete % "queue show ''"]).stdout.split()
    settled.run(f"proxmox-graph-mail queue remove {queue_id} --yes")
    settled.run("systemctl start proxmox-graph-mail.path proxmox-graph-mail.socket")


def test_the_package_s_own_test_passes(settled: Machine) -> None:
    """packaging/debian/tests, as autopkgtest runs it."""
    settled.run("cp -R /srv/project/packaging/debian/tests /tmp/tests")
    settled.run("AUTOPKGTEST_TMP=$(mktemp -d) sh /tmp/tests/smoke")


def test_cold_and_warm_are_fast(host: Machine, tenant: Tenant) -> None:
    """From sendmail's exit to arrival: under 2 s where the runner must be started, under 100 ms plus Graph's answer where not."""
    tenant.control(latency=0.0)
    once = "import subprocess, time; subprocess.run(['sendmail', 'root'], input=b'Subject: %s\\n\\nx\\n', check=True); print(time.time())"
    took: dict[str, list[float]] = {"cold": [], "warm": [], "handover": []}
    for number in range(3):
        host.run("systemctl stop proxmox-graph-mail.service 2>/dev/null")
        exited = float(host.run(["python3", "-c", once % f"cold {number}"]).stdout)
        took["cold"].append(tenant.arrives(f"cold {number}")["time"] - exited)
    for number in range(5):
        eventually(lambda: host.run("mailq").stdout == "Mail queue is empty\n", "it is at rest")
        exited = float(host.run(["python3", "-c", once % f"warm {number}"]).stdout)
        took["warm"].append(tenant.arrives(f"warm {number}")["time"] - exited)
        exited = float(host.run(["python3", "-c", once % f"handover {number}"], user="alice").stdout)
        took["handover"].append(tenant.arrives(f"handover {number}")["time"] - exited)
    for name, times in took.items():
        print(f"\nfrom sendmail's exit to arrival, {name}: {', '.join(f'{seconds * 1000:.0f}' for seconds in times)} ms", end="")
    assert max(took["cold"]) < 2
    assert sorted(took["warm"])[2] < 0.1
