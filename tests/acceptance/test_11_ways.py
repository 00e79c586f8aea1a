"""Ways onto a host and over to it: the signed APT repository, Ansible, guests' mail, dnf-automatic, an smtp target that moves, pip, RPM.

After test_09, which leaves the machine with Postfix.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import settle
from tests.acceptance.machine import Machine, Tenant, people
from tests.programs import TREE, eventually

DIST = TREE / "dist"
APT = "apt-get -o Dir::Etc::sourcelist=sources.list.d/proxmox-graph-mail.sources -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades"
LAYER = "/srv/project/tests/proxmox/layer.py"


class Archive:
    """The APT repository, as a folder that a web server in the machine hands out."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self._published = int(time.time()) - 3600
        self.env = os.environ | {"GNUPGHOME": str(home), "REPOSITORY_URL": "http://127.0.0.1:8080"}
        key = [
            "gpg",
            "--batch",
            "--passphrase",
            "",
            "--quick-generate-key",
            "test <test@example.com>",
            "ed25519",
            "sign",
            "never",
        ]
        subprocess.run(key, env=self.env, check=True, capture_output=True)

    def publish(self, deb: Path) -> None:
        """Put a package in, and sign."""
        command = [TREE / "packaging" / "apt-repository", self.folder, "test@example.com", deb]
        subprocess.run(list(map(str, command)), env=self.env, check=True, capture_output=True)
        # A web server tells a file's time to the second, and the tests publish faster than anybody releases.
        self._published += 60
        os.utime(self.folder / "dists/stable/InRelease", (self._published, self._published))


def build(suffix: str = "") -> Path:
    subprocess.run([str(TREE / "packaging" / "build-deb"), *([suffix] if suffix else [])], check=True, stdout=subprocess.DEVNULL)
    (made,) = DIST.glob("*.deb")
    return made


@pytest.fixture(scope="module")
def archive(machine: Machine, tenant: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """With the previous build; the current one is in dist/ again."""
    folder = DIST / "apt-test"
    shutil.rmtree(folder, ignore_errors=True)
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    made = Archive(folder, home)
    made.publish(build("~previous"))
    build()
    tenant.start()
    machine.run(f"{INSTALL} postfix bsd-mailx 2>&1")  # as on a new host: the tests before take mail(1) away with their purge
    machine.run(
        "systemd-run --quiet --unit=web python3 -m http.server 8080 --bind 127.0.0.1 --directory /srv/project/dist/apt-test"
    )
    eventually(lambda: machine.run("ss -Hltn sport = :8080").stdout, "the web server listens")
    yield made
    machine.run("systemctl stop web; rm -f /etc/apt/sources.list.d/proxmox-graph-mail.sources")
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=os.environ | {"GNUPGHOME": str(home)}, check=False)
    shutil.rmtree(folder)


def test_a_release_is_the_same_twice_and_signed(archive: Archive, tmp_path: Path) -> None:
    """`make release` of a tag: it builds in two folders and compares; bill of materials, checksums, signature; and nothing of the
    caller's environment gets into the build."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(TREE), str(clone)], check=True)
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "tag", "v0.1.0"], cwd=clone, check=True)
    (clone / ".venv").symlink_to(TREE / ".venv")
    env = archive.env | {"KEY": "test@example.com", "TMPDIR": "/nowhere", "DEB_BUILD_OPTIONS": "bogus", "PERL5LIB": "/nowhere"}
    done = subprocess.run(["packaging/release"], cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "built twice, and the same" in done.stdout
    out = clone / "dist" / "release"
    subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=out, check=True)
    subprocess.run(["gpg", "--verify", "SHA256SUMS.asc", "SHA256SUMS"], cwd=out, env=env, check=True, capture_output=True)
    kinds = {"".join(path.suffixes[-1:]) for path in out.iterdir()}
    assert {".deb", ".whl", ".gz", ".json", ".asc"} <= kinds
    assert (clone / "dist" / "apt" / "dists" / "stable" / "InRelease").exists()
    untagged = subprocess.run(["git", "tag", "-d", "v0.1.0"], cwd=clone, check=True, capture_output=True)
    assert untagged.returncode == 0
    refused = subprocess.run(["packaging/release"], cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert "make release needs a tag" in refused.stderr


def documented(file: str, beginning: str) -> list[str]:
    """The lines of a document's indented block that begins so."""
    text = (TREE / "docs" / file).read_text()
    block = re.search(rf"^    {re.escape(beginning)}.*\n(?:    .*\n)*", text, re.MULTILINE)
    assert block, beginning
    return [line[4:] for line in block[0].splitlines()]


def test_apt_installs_from_the_signed_repository(machine: Machine, tenant: Tenant, archive: Archive) -> None:
    """By the documents' lines; over Postfix."""
    lines = [line.replace("https://mail.example.com/apt", "http://127.0.0.1:8080").replace("curl -fsS -o", "python3 /srv/fetch.py") for line in documented("installation.md", "curl -fsS")]  # fmt: skip
    machine.write("/srv/fetch.py", "import sys, urllib.request\nurllib.request.urlretrieve(sys.argv[2], sys.argv[1])\n")
    for line in lines:
        machine.run(line.replace("apt update", f"{APT} update").replace("apt install", INSTALL) + " 2>&1")
    assert machine.run("dpkg-query -W -f '${Version}' proxmox-graph-mail").stdout == "0.1.0~previous"
    settle(machine, tenant)
    machine.run("printf 'Subject: from the repository\\n\\nx\\n' | sendmail root")
    tenant.arrives("from the repository")


def test_a_release_that_was_tampered_with_is_refused(machine: Machine, archive: Archive) -> None:
    """The signature is over every hash: a changed InRelease, and a changed Packages, both."""
    for name in ("dists/stable/InRelease", "dists/stable/main/binary-amd64/Packages.gz"):
        file = archive.folder / name
        before, when = file.read_bytes(), file.stat().st_mtime
        file.write_bytes(
            before.replace(b"proxmox-graph-mail", b"proxmox-graph-evil", 1) if name.endswith("InRelease") else before + b"x"
        )
        machine.run("rm -rf /var/lib/apt/lists/127.0.0.1*")
        done = machine.run(f"{APT} -o APT::Update::Error-Mode=any update 2>&1", check=False)
        file.write_bytes(before)
        os.utime(file, (when, when))
        assert done.returncode != 0, done.stdout
    machine.run(f"{APT} update 2>&1")


def test_apt_upgrades_with_mail_in_flight(machine: Machine, tenant: Tenant, archive: Archive) -> None:
    """A second release: nothing is lost on the way."""
    archive.publish(next(DIST.glob("*.deb")))
    tenant.control(latency=0.5)
    for number in range(30):
        machine.run(f"printf 'Subject: flight {number}\\n\\nx\\n' | sendmail root")
    updated = machine.run(f"{APT} -o APT::Update::Error-Mode=any update 2>&1").stdout
    assert "0.1.0 " in machine.run("apt-cache policy proxmox-graph-mail").stdout, updated
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get install -y --only-upgrade proxmox-graph-mail 2>&1")
    assert machine.run("dpkg-query -W -f '${Version}' proxmox-graph-mail").stdout == "0.1.0"
    wanted = {f"flight {number}" for number in range(30)}
    eventually(lambda: wanted <= {mail["message"]["subject"] for mail in tenant.accepted()}, "all arrive", 60)
    tenant.control(latency=0.02)


def test_ansible_sets_it_up_and_changes_nothing_twice(machine: Machine, tenant: Tenant, archive: Archive) -> None:
    """The role of the documents, by the real ansible: changed, then ok; a file that was there with the wrong owner is put right."""
    conf = "/etc/proxmox-graph-mail.conf"
    machine.run(f"{INSTALL} postfix 2>&1; apt-get purge -y proxmox-graph-mail 2>&1")  # mail(1) goes with the last mail system
    machine.write(conf, "MAIL_TO=old@example.com\n", 0o644)
    machine.run("cp -r /srv/project/docs/ansible /root/ansible")
    about = tenant.about
    values = {"proxmox_graph_mail_settings": {
        "GRAPH_TENANT_ID": about["tenant"], "GRAPH_CLIENT_ID": about["client"], "GRAPH_CLIENT_SECRET": about["secret"],
        "GRAPH_SENDER": about["sender"], "MAIL_TO": "admin@example.com", "CREDENTIAL_EXPIRES": "2031-01-01"}}  # fmt: skip
    machine.write("/root/ansible/values.json", json.dumps(values))
    play = "cd /root/ansible && ansible-playbook -i 'pve1,' -c local -e @values.json playbook.yml -e 'hosts=all' 2>&1"
    machine.run("sed -i 's/hosts: proxmox/hosts: all/' /root/ansible/playbook.yml")
    tenant.control(forget=True)
    done = machine.run(play, patience=300)
    assert "changed=2" in done.stdout, done.stdout
    assert about["secret"] not in done.stdout
    assert machine.run(f"stat -c '%U:%G %a' {conf}").stdout.strip() == "root:proxmox-graph-mail 640"
    assert "MAIL_TO=admin@example.com" in machine.run(f"cat {conf}").stdout
    inode = machine.run(f"stat -c %i {conf}").stdout
    sent = len(tenant.accepted())
    assert sent == 1
    tenant.stop()
    done = machine.run(play, patience=300)
    assert "changed=0" in done.stdout, done.stdout
    tenant.start()
    assert machine.run(f"stat -c %i {conf}").stdout == inode
    assert len(tenant.accepted()) <= 1


def test_a_file_with_the_wrong_owner_is_put_right(machine: Machine, tenant: Tenant, archive: Archive) -> None:
    """Laid down before the package; the installation says so."""
    machine.run(f"{INSTALL} postfix 2>&1")
    machine.run("chown nobody:nogroup /etc/proxmox-graph-mail.conf; chmod 0644 /etc/proxmox-graph-mail.conf")
    said = machine.run(f"{INSTALL} proxmox-graph-mail 2>&1").stdout
    assert "/etc/proxmox-graph-mail.conf now belongs to root and the group proxmox-graph-mail, mode 0640" in said
    assert machine.run("stat -c '%U:%G %a' /etc/proxmox-graph-mail.conf").stdout.strip() == "root:proxmox-graph-mail 640"


GUEST = """
import smtplib, sys
with smtplib.SMTP("10.10.10.1", 25, timeout=10) as smtp:
    smtp.sendmail("root@ct101", ["ops@example.com"], f"Subject: {sys.argv[1]}\\r\\nFrom: root@ct101\\r\\n\\r\\nx\\r\\n")
"""


def test_a_guest_s_mail_goes_through_the_host(machine: Machine, tenant: Tenant, archive: Archive) -> None:
    """By the drop-ins of docs/guests.md: from its address, under its name, with limits of its own; a stranger is refused."""
    settle(machine, tenant, USER_DAILY_RECIPIENTS="2")
    machine.run(
        "ip link add vmbr1 type bridge && ip address add 10.10.10.1/24 dev vmbr1 && ip address add 10.20.20.1/24 dev vmbr1 && ip link set vmbr1 up"
    )
    for name, address in (("ct101", "10.10.10.101/24"), ("stranger", "10.20.20.9/24")):
        machine.run(
            f"ip netns add {name} && ip link add {name} type veth peer name eth0 netns {name} && ip link set {name} master vmbr1 up && "
            f"ip -n {name} address add {address} dev eth0 && ip -n {name} link set eth0 up && ip -n {name} route add default via {address.rpartition('.')[0]}.1"
        )
    text = (TREE / "docs" / "guests.md").read_text()
    for path, content in re.findall(r"^    # (/etc/systemd\S+)\n((?:    .*\n)+)", text, re.MULTILINE):
        machine.run(f"mkdir -p {path.rpartition('/')[0]}")
        machine.write(path, re.sub(r"^    ", "", content, flags=re.MULTILINE))
    machine.run(
        "echo '10.10.10.101 ct101' >> /etc/hosts; systemctl daemon-reload; systemctl restart proxmox-graph-mail-smtp.socket"
    )
    machine.write("/srv/guest.py", GUEST)
    tenant.control(forget=True)
    machine.run("ip netns exec ct101 python3 /srv/guest.py 'from the container'")
    mail = tenant.arrives("from the container")
    assert mail["message"]["from"]["emailAddress"]["name"] == "root@pve1 by ct101"
    machine.run("ip netns exec ct101 python3 /srv/guest.py 'the second'")
    refused = machine.run("ip netns exec ct101 python3 /srv/guest.py 'the third'", check=False)
    assert "2 recipients in 24 hours" in refused.stderr
    machine.run("printf 'Subject: the host is not limited by it\\n\\nx\\n' | sendmail root")
    tenant.arrives("the host is not limited by it")
    refused = machine.run("ip netns exec stranger python3 /srv/guest.py 'a stranger'", check=False)
    assert "takes no mail from your address" in refused.stderr
    machine.run(
        "rm -r /etc/systemd/system/proxmox-graph-mail-smtp.s*.d; systemctl daemon-reload; systemctl disable --now proxmox-graph-mail-smtp.socket; "
        "ip netns delete ct101; ip netns delete stranger; ip link delete vmbr1"
    )
    settle(machine, tenant)


DNF_CONF = """
[commands]
upgrade_type = default
download_updates = no
apply_updates = no
[emitters]
emit_via = command_email
system_name = pve1
"""
SPEC = "Name: dummy\nVersion: {version}\nRelease: 1\nSummary: dummy\nLicense: MIT\nBuildArch: noarch\n%description\nx\n%files\n"


def test_dnf_automatic_mails_through_it(machine: Machine, tenant: Tenant, archive: Archive, tmp_path: Path) -> None:
    """The real one, by the lines of docs/fedora.md: an update that is there is reported."""
    for version in (1, 2):
        (tmp_path / "dummy.spec").write_text(SPEC.format(version=version))
        subprocess.run(
            ["rpmbuild", "--quiet", "--define", f"_topdir {tmp_path}", "-bb", str(tmp_path / "dummy.spec")],
            check=True,
            capture_output=True,
        )
    machine.run("mkdir -p /srv/rpms/old /srv/rpms/new")
    for folder, version in (("old", 1), ("new", 2)):
        content = next(tmp_path.glob(f"RPMS/noarch/dummy-{version}-*.rpm")).read_bytes()
        machine.run(f"cat > /srv/rpms/{folder}/dummy.rpm", stdin=content)
    machine.run("createrepo_c -q /srv/rpms/new")
    machine.run("mkdir -p /etc/yum.repos.d")
    machine.write("/etc/yum.repos.d/local.repo", "[local]\nname=local\nbaseurl=file:///srv/rpms/new\ngpgcheck=0\n")
    machine.run("dnf -q -y --disablerepo='*' --nogpgcheck install /srv/rpms/old/dummy.rpm 2>&1")
    section = "\n".join(documented("fedora.md", "[command_email]"))
    machine.write("/etc/dnf/automatic.conf", f"{DNF_CONF}{section}\n[base]\ndebuglevel = 1\n")
    tenant.control(forget=True)
    program = "import sys, dnf.automatic.main as m; sys.exit(m.main([sys.argv[1]]))"
    said = machine.run(["python3", "-c", program, "/etc/dnf/automatic.conf"])
    mail = eventually(lambda: tenant.accepted(), f"its mail arrives ({said.stdout}{said.stderr})")[0]
    assert "Updates available on 'pve1'" in mail["message"]["subject"]
    assert "dummy" in mail["message"]["body"]["content"]


TARGET = (
    "smtp: m365\n\tserver smtp.office365.com\n\tmode starttls\n\tport 587\n\tusername alerts@example.com\n\t"
    "from-address alerts@example.com\n\tmailto ops@example.com\n\nmatcher: default-matcher\n\tmode all\n\ttarget m365\n"
)


def test_from_found_it_to_a_test_notification_and_back(machine: Machine, tenant: Tenant, archive: Archive) -> None:
    """An smtp target to Microsoft: install, setup, migrate, a notification through Graph, and everything back again."""
    machine.run(f"{INSTALL} postfix 2>&1; apt-get purge -y proxmox-graph-mail 2>&1")
    machine.run(f"install -D -m 0755 {LAYER} /usr/bin/pvesh; mkdir -p /etc/pve/nodes/pve1 /etc/pve/priv")
    machine.write("/etc/pve/user.cfg", "user:root@pam:1:0:Ada::ada%40example.com:::\n")
    machine.write("/etc/pve/notifications.cfg", TARGET)
    machine.run("postconf -e 'relayhost=[smtp.office365.com]:587'")
    tenant.control(forget=True)
    machine.run(f"{INSTALL} proxmox-graph-mail 2>&1")
    values = "".join(f"{key}={value}\n" for key, value in tenant.settings().items())
    done = machine.run("proxmox-graph-mail setup --from -", stdin=values)
    assert "proxmox-graph-mail migrate" in done.stdout
    shown = machine.run("proxmox-graph-mail migrate").stdout
    assert "Proxmox target m365: sends to ops@example.com by smtp.office365.com" in shown
    assert "/etc/postfix/main.cf: postfix relays to smtp.office365.com" in shown
    assert "migration" in machine.run("proxmox-graph-mail check", check=False).stdout
    machine.run("proxmox-graph-mail migrate --apply")
    machine.run("pvesh create /cluster/notifications/targets/m365-graph/test")
    assert people(tenant.arrives("Test notification")) == ["ops@example.com"]
    assert "\ttarget m365-graph\n" in machine.run("cat /etc/pve/notifications.cfg").stdout
    machine.run("proxmox-graph-mail migrate --undo")
    assert "\ttarget m365\n" in machine.run("cat /etc/pve/notifications.cfg").stdout
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get install -y postfix 2>&1; apt-get purge -y proxmox-graph-mail 2>&1")
    assert machine.run("dpkg-query -W -f '${db:Status-Abbrev}' postfix").stdout == "ii "
    assert machine.run("postconf -h relayhost").stdout.strip() == "[smtp.office365.com]:587"
    machine.run("postconf -X relayhost; rm -rf /etc/pve /usr/bin/pvesh")


def test_pip_and_its_units(machine: Machine, tenant: Tenant, archive: Archive) -> None:
    """A virtual environment below /opt, install-units: mail arrives, a user's too, by units of its own; and all of it goes again."""
    env = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(
        [TREE / ".venv/bin/python", "packaging/build-python", "dist"], cwd=TREE, env=env, check=True, capture_output=True
    )
    (wheel,) = DIST.glob("*.whl")
    machine.run(
        "DEBIAN_FRONTEND=noninteractive apt-get remove -y postfix 2>&1; apt-get purge -y proxmox-graph-mail 2>&1; rm -f /etc/proxmox-graph-mail.conf"
    )
    machine.run(
        f"{INSTALL} python3-httpx python3-msal python3-pydantic-settings python3-tenacity python3-typer python3-rich python3-dotenv python3-webencodings 2>&1"
    )
    machine.run("python3 -m venv --system-site-packages /opt/proxmox-graph-mail")
    pip = "/opt/proxmox-graph-mail/bin/pip --disable-pip-version-check install --no-index --no-deps"
    machine.run(f"{pip} /srv/project/dist/{wheel.name} 2>&1")
    program = "/opt/proxmox-graph-mail/bin/proxmox-graph-mail"
    done = machine.run(f"{program} install-units")
    assert "/usr/sbin/sendmail leads to /opt/proxmox-graph-mail/bin/sendmail" in done.stdout
    settle(machine, tenant)
    tenant.control(forget=True)
    for user in ("root", "alice"):
        machine.run(f"printf 'Subject: pip {user}\\n\\nx\\n' | /usr/sbin/sendmail ops@example.com", user=user)
        tenant.arrives(f"pip {user}")
    assert machine.status()["ActiveState"] == "active"
    eventually(
        lambda: machine.run("systemctl start proxmox-graph-mail-watch.service; ls /run/proxmox-graph-mail-watch").stdout,
        "the watch looked",
    )
    assert "not this program's" not in machine.run(f"{program} check --offline", check=False).stdout
    assert "there is nothing to do" not in machine.run(f"{program} install-units --remove").stdout
    assert machine.run("stat -c '%U:%G %a' /etc/proxmox-graph-mail.conf").stdout.strip() == "root:root 600"  # the group is gone
    assert (
        machine.run("ls /usr/local/lib/systemd/system /etc/sysusers.d /var/spool | grep proxmox-graph-mail", check=False).stdout
        == ""
    )
    assert machine.run("getent passwd proxmox-graph-mail; test -e /usr/sbin/sendmail", check=False).returncode != 0
    wheel.unlink()
    for sdist in DIST.glob("*.tar.gz"):
        sdist.unlink()


def test_the_rpm_installs_and_goes(machine: Machine, tmp_path: Path) -> None:
    """Into a root of its own, with its scripts: user, spool and a sendmail that takes a mail."""
    subprocess.run([TREE / "packaging" / "build-rpm"], check=True, capture_output=True)
    (rpm,) = DIST.glob("*.rpm")
    root = tmp_path / "root"
    for name in ("root", "upper", "work"):
        (tmp_path / name).mkdir()
    overlay = f"lowerdir={machine.base},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", overlay, str(root)], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    try:
        subprocess.run(["rpm", "--root", str(root), "--nodeps", "-i", str(rpm)], check=True, capture_output=True)
        mail = ["chroot", str(root), "/usr/sbin/sendmail.proxmox-graph-mail", "-odq", "root"]
        subprocess.run(mail, input=b"Subject: rpm\n\nx\n", check=True)
        (queued,) = (root / "var/spool/proxmox-graph-mail/queue").glob("?" * 18)
        assert b"Subject: rpm" in queued.read_bytes()
        assert (root / "etc/proxmox-graph-mail.conf").stat().st_mode & 0o777 == 0o640
        queued.unlink()
        subprocess.run(["rpm", "--root", str(root), "-e", "proxmox-graph-mail"], check=True, capture_output=True)
        assert not (root / "usr/sbin/sendmail.proxmox-graph-mail").exists()
        assert not list((root / "usr/lib/systemd/system").glob("proxmox-graph-mail*"))
    finally:
        subprocess.run(["umount", str(root / "proc"), str(root)], check=True)
    rpm.unlink()
