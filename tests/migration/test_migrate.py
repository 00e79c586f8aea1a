"""`migrate`: what other mail systems' own files say, and the way over for Proxmox's targets, and back."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from proxmox_graph_mail.admin.target import is_test
from proxmox_graph_mail.migration import relays
from proxmox_graph_mail.proxmox.microsoft import connects, leads_to_microsoft, smtp_targets, submits
from proxmox_graph_mail.proxmox.notifications import Target
from tests.programs import Sandbox, subjects
from tests.proxmox.host import ProxmoxHost
from tests.terminal import Terminal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Proxmox's settings are root's")

MAIN_CF = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version
myhostname=pve1.example.com
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
relay = smtp.office365.com
alias_maps = hash:/etc/aliases
mydestination = $myhostname, localhost.$mydomain, localhost
relayhost = [$relay]:587
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
recipient_delimiter = +
smtp_use_tls = yes
smtp_sasl_auth_enable = yes
smtp_sasl_security_options =
        noanonymous
smtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd
smtp_generic_maps=hash:/etc/postfix/generic
"""
SASL_PASSWD = "# relay\n[smtp.office365.com]:587 alerts@example.com:Sup3r:Secret!\n"
MSMTPRC = """\
# Set default values for all following accounts.
defaults
auth           on
tls            on
tls_trust_file /etc/ssl/certs/ca-certificates.crt
logfile        /var/log/msmtp

account        office
host           smtp.office365.com
port           587
from           alerts@example.com
user           alerts@example.com
password       "Sup3r Secret!"

account        elsewhere
host           mail.example.net

account default : office
"""
SSMTP = "root=postmaster\nMailHub=smtp.office365.com:587\nUseSTARTTLS=YES\nAuthUser=alerts@example.com\nAuthPass=Sup3rSecret\n"
REMOTES = (
    "# provider\nsmtp.office365.com smtp --port=587 --auth-login --user=alerts@example.com --pass='Sup3r Secret' --starttls\n"
)
DMA = "# \nSMARTHOST smtp.office365.com\nPORT 587\nAUTHPATH /etc/dma/auth.conf\nSECURETRANSFER\nSTARTTLS\n"
EXIM = "dc_eximconfig_configtype='smarthost'\ndc_other_hostnames='pve1'\ndc_smarthost='smtp.office365.com::587'\n"
SMTP = (
    "smtp: m365\n\tserver smtp.office365.com\n\tmode starttls\n\tport 587\n\tusername alerts@example.com\n\t"
    "from-address alerts@example.com\n\tmailto ops@example.com\n\tmailto-user root@pam\n\tcomment the old way\n\n"
)
MATCHERS = "matcher: nightly\n\ttarget m365\n\ttarget phone\n\tmatch-severity error\n\ngotify: phone\n\tserver https://push.example.com\n"
SECRETS = ("Sup3r", "Secret")


def put(pve: ProxmoxHost, path: str, text: str) -> None:
    file = Path(f"{pve.root}{path}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def program(pve: ProxmoxHost, path: str) -> None:
    put(pve, path, "")


def shown(pve: ProxmoxHost) -> dict[str, dict[str, str]]:
    done = pve.host.admin("migrate", "--json")
    assert done.returncode == 0, done.stderr
    assert not any(word in done.stdout for word in SECRETS)
    return {row["where"]: row for row in json.loads(done.stdout)}


SYSTEMS = [
    ("/etc/postfix/main.cf", MAIN_CF, "/usr/lib/postfix/sbin/master"), ("/etc/msmtprc", MSMTPRC, "/usr/bin/msmtp"),
    ("/etc/ssmtp/ssmtp.conf", SSMTP, "/usr/sbin/ssmtp"), ("/etc/nullmailer/remotes", REMOTES, "/usr/sbin/nullmailer-send"),
    ("/etc/dma/dma.conf", DMA, "/usr/sbin/dma"), ("/etc/exim4/update-exim4.conf.conf", EXIM, "/usr/sbin/exim4"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "text", "binary"), SYSTEMS)
def test_a_mail_system_that_relays_to_microsoft_is_found(pve: ProxmoxHost, path: str, text: str, binary: str) -> None:
    """By its own file and syntax; the account is named, the password never; without the program it is a leftover."""
    put(pve, path, text)
    put(pve, "/etc/postfix/sasl_passwd", SASL_PASSWD)
    put(pve, "/etc/dma/auth.conf", "alerts@example.com|smtp.office365.com:Sup3rSecret\n")
    assert (shown(pve)[path]["fate"], "apt purge" in shown(pve)[path]["command"]) == ("leftover", True)
    program(pve, binary)
    row = shown(pve)[path]
    assert row["fate"] == "stops"
    assert "relays to smtp.office365.com" in row["what"]
    assert "exim" in path or "as alerts@example.com" in row["what"]
    assert row["command"]
    put(pve, path, text.replace("office365.com", "example.net"))
    assert path not in shown(pve)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relayhost =\n", []), ("#relayhost = [smtp.office365.com]\n", []), ("relayhost = smtp.office365.com:587\n", ["smtp.office365.com"]),
        ("relayhost =\n  [smtp.office365.com]\n", ["smtp.office365.com"]), ("a = $b\nb = $a\nrelayhost = ${a}\n", [""]),
        ("relayhost = [x.mail.protection.outlook.com]\n", ["x.mail.protection.outlook.com"]),
    ],
)  # fmt: skip
def test_main_cf_is_read_as_postconf_says(text: str, expected: list[str]) -> None:
    """Comments, continuation lines, parameters that name others; one that names itself ends."""
    assert [server for server, _, _ in relays.postfix(text)] == expected or expected == [""]


def test_oauth_and_connectors_do_not_stop(pve: ProxmoxHost) -> None:
    """They are told apart from passwords."""
    program(pve, "/usr/bin/msmtp")
    put(pve, "/etc/msmtprc", MSMTPRC.replace("auth           on", "auth xoauth2"))
    assert "OAuth" in shown(pve)["/etc/msmtprc"]["means"]
    put(pve, "/etc/msmtprc", "host example-com.mail.protection.outlook.com\n")
    assert (row := shown(pve)["/etc/msmtprc"])["fate"] == "works"
    assert "own mailboxes alone" in row["means"]


def test_who_names_an_address_is_listed(pve: ProxmoxHost) -> None:
    """cron, Proxmox, zed, smartd, mdadm; zed by another program than mail does not go through sendmail."""
    put(pve, "/etc/cron.d/jobs", '# jobs\nMAILTO="ops@example.com"\nMAILTO=\n1 * * * * root true\n')
    put(pve, "/etc/pve/datacenter.cfg", "keyboard: de\nemail_from: alerts@example.com\n")
    put(pve, "/etc/zfs/zed.d/zed.rc", 'ZED_EMAIL_ADDR="root"\n#ZED_EMAIL_PROG="mail"\n')
    put(
        pve,
        "/etc/smartd.conf",
        "# a\nDEVICESCAN -d removable -n standby \\\n -m root -M exec /usr/share/smartmontools/smartd-runner\n",
    )
    put(pve, "/etc/mdadm/mdadm.conf", "HOMEHOST <system>\nmailaddr root\nMAILFROM\n  alerts@example.com\n")
    rows = json.loads(pve.host.admin("migrate", "--json").stdout)
    assert [row["what"] for row in rows] == [
        "cron mails to ops@example.com", "Proxmox sends as alerts@example.com", "zed mails to root",
        "smartd mails to root by /usr/share/smartmontools/smartd-runner", "mdadm mails to root", "mdadm mails as alerts@example.com",
    ]  # fmt: skip
    assert {row["fate"] for row in rows} == {"works"}
    put(pve, "/etc/zfs/zed.d/zed.rc", "ZED_EMAIL_ADDR=root\nZED_EMAIL_PROG='swaks'\n")
    assert shown(pve)["/etc/zfs/zed.d/zed.rc"]["fate"] == "unknown"
    put(pve, "/etc/zfs/zed.d/zed.rc", "ZED_EMAIL_ADDR=root\nZED_EMAIL_PROG=/usr/bin/mailx\n")
    assert shown(pve)["/etc/zfs/zed.d/zed.rc"]["fate"] == "works"


@pytest.fixture(params=["pve", "pbs"])
def product(pve: ProxmoxHost, request: pytest.FixtureRequest) -> ProxmoxHost:
    """Each product's command alone is there; a target of the old kind, and a matcher with two targets."""
    if request.param == "pve":
        (pve.host.programs / "proxmox-backup-manager").unlink()
        put(pve, "/etc/pve/notifications.cfg", SMTP + MATCHERS)
    else:
        (pve.host.programs / "pvesh").unlink()
        put(pve, "/etc/proxmox-backup/user.cfg", "user: root@pam\n\temail admin@example.com\n")
        put(pve, "/etc/proxmox-backup/notifications.cfg", SMTP + MATCHERS)
    return pve


def targets(pve: ProxmoxHost) -> dict[str, dict[str, object]]:
    seen = json.loads(pve.host.admin("target", "show", "--json").stdout)
    return {row["name"]: row for row in [*seen["targets"], *seen["matchers"]]}


def test_a_target_is_moved_and_back(product: ProxmoxHost, sandbox: Sandbox) -> None:
    """Tested first; the same recipients; matchers lead to the new one beside their others; the old one rests. Undone: as before."""
    before = targets(product)
    row = shown(product)["Proxmox target m365"]
    assert (row["fate"], row["command"]) == ("stops", "proxmox-graph-mail migrate --apply")
    with product.host.runner():
        done = product.host.admin("migrate", "--apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert subjects(sandbox.accepted()) == ["Test notification"]
    after = targets(product)
    assert after["nightly"]["targets"] == ["m365-graph", "phone"]
    assert after["m365-graph"]["to"] == ["ops@example.com", "root@pam (admin@example.com)"]
    assert (after["m365"]["disabled"], after["m365-graph"]["disabled"]) == (True, False)
    assert "Proxmox target m365" not in shown(product)
    assert "Moved already: m365" in product.host.admin("migrate").stdout
    assert "nothing to move" in product.host.admin("migrate", "--apply").stdout
    done = product.host.admin("migrate", "--undo")
    assert done.returncode == 0, done.stderr
    assert targets(product) == before
    assert product.host.admin("migrate", "--undo").returncode == 65


def moved(pve: ProxmoxHost, *argv: str) -> str:
    with pve.host.runner():
        done = pve.host.admin("migrate", *(argv or ("--apply",)))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_target_that_is_there_already_is_left_alone(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """Whatever it is called: another name is taken; long names that begin alike do not share one."""
    other = "sendmail: m365-graph\n\tmailto intern@example.com\n\tdisable true\n\n"
    put(pve, "/etc/pve/notifications.cfg", SMTP + MATCHERS + other)
    moved(pve)
    after = targets(pve)
    assert after["m365-graph"]["to"] == ["intern@example.com"]
    assert after["nightly"]["targets"] == ["m365-graph2", "phone"]
    assert after["m365-graph2"]["to"] == ["ops@example.com", "root@pam (admin@example.com)"]
    moved(pve, "--undo")
    assert "m365-graph" in targets(pve)
    assert "m365-graph2" not in targets(pve)


def test_nobody_else_s_mail_passes_for_the_test() -> None:
    """A user's "latest news" is no proof, nor is root's mail to others: else a target would be moved that nobody's mail reaches."""
    target = Target("m365-graph", "sendmail", addresses=("ops@example.com",), users=("root@pam",))
    row = {"uid": 0, "to": ["OPS@example.com", "admin@example.com"], "subject": "Test notification"}
    assert is_test(row, target)
    assert not is_test(row | {"uid": 4242}, target)
    assert not is_test(row | {"to": ["x@example.com"]}, target)
    assert not is_test(row | {"subject": "backup"}, target)


def test_an_interrupted_move_leaves_everything_as_it_was(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """Ctrl-C while the test mail is waited for, which never comes: Proxmox's sendmail is another one."""
    put(pve, "/etc/pve/notifications.cfg", SMTP + MATCHERS)
    text = (pve.host.programs / "pvesh").read_text()
    (pve.host.programs / "pvesh").write_text(re.sub(r"LAYER_SENDMAIL='[^']*'", "LAYER_SENDMAIL=/bin/true", text))
    before = targets(pve)
    screen = Terminal(pve.host.admin_command("migrate", "--apply"), pve.host.env)
    screen.until("Proxmox ran the test")
    screen.interrupt()
    assert screen.close() != 0
    assert targets(pve) == before


def test_what_was_changed_since_stays_and_what_was_deleted_stops_nothing(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """--undo puts the old target into the new one's place, and no more."""
    second = SMTP.replace("m365", "m366")
    put(pve, "/etc/pve/notifications.cfg", SMTP + second + MATCHERS + "matcher: other\n\ttarget m366\n")
    moved(pve)
    config = pve.root / "etc/pve/notifications.cfg"
    text = config.read_text().replace("\ttarget m365-graph\n", "\ttarget m365-graph\n\ttarget mail-to-root\n")
    config.write_text(re.sub(r"smtp: m366\n(?:\t.*\n)+", "", text))
    said = moved(pve, "--undo")
    assert "m366 was deleted in Proxmox, so m366-graph stays in its place" in said
    after = targets(pve)
    assert after["nightly"]["targets"] == ["m365", "mail-to-root", "phone"]
    assert after["other"]["targets"] == ["m366-graph"]


def test_a_crontab_of_a_user_s_holds_nothing_up_and_forges_nothing(pve: ProxmoxHost) -> None:
    """A megabyte of blanks takes no time; a form feed begins no line."""
    put(pve, "/var/spool/cron/crontabs/mallory", f"# \fMAILTO=forged@example.com\nMAILTO=a{' ' * 1_000_000}x\n")
    begun = time.monotonic()
    rows = shown(pve)
    assert time.monotonic() - begun < 20
    assert "forged" not in json.dumps(rows)


def test_undelivered_mail_is_named_before_postfix_is_purged(pve: ProxmoxHost) -> None:
    """Purging deletes it."""
    put(pve, "/etc/postfix/main.cf", MAIN_CF)
    put(pve, "/var/spool/postfix/deferred/A/A123", "mail")
    row = shown(pve)["/etc/postfix/main.cf"]
    assert row["command"].startswith("first save what you need of the 1 undelivered")


@pytest.mark.parametrize(
    "text",
    ["default_transport = smtp:[smtp.office365.com]:587\n", "sender_dependent_relayhost_maps = hash:/etc/postfix/relays\n"],
)
def test_postfix_s_other_ways_to_a_relay(pve: ProxmoxHost, text: str) -> None:
    """default_transport, and relays by sender."""
    put(pve, "/etc/postfix/main.cf", text)
    put(pve, "/etc/postfix/relays", "# who\nroot@example.com [smtp.office365.com]:587\n")
    assert "smtp.office365.com" in shown(pve)["/etc/postfix/main.cf"]["what"]


def test_what_does_not_arrive_moves_nothing(pve: ProxmoxHost, sandbox: Sandbox) -> None:
    """Graph refuses: the new target goes away again, matchers and the old target stay."""
    put(pve, "/etc/pve/notifications.cfg", SMTP + MATCHERS)
    before = targets(pve)
    sandbox.control(roles=[])
    with pve.host.runner():
        done = pve.host.admin("migrate", "--apply")
    assert done.returncode == 75
    assert "m365 stays as it was" in done.stdout
    assert targets(pve) == before


def test_a_node_without_it_stops_the_move(pve: ProxmoxHost) -> None:
    """Targets are the cluster's; there the mail would stay with Postfix."""
    put(pve, "/etc/pve/notifications.cfg", SMTP + MATCHERS)
    put(pve, "/etc/pve/corosync.conf", "nodelist {\n  node {\n    name: other\n  }\n}\ntotem {\n  cluster_name: prod\n}\n")
    (pve.host.programs / "ssh").write_text("#!/bin/sh\nexit 127\n")
    (pve.host.programs / "ssh").chmod(0o755)
    done = pve.host.admin("migrate", "--apply")
    assert (done.returncode, "fails on other" in done.stderr) == (69, True), done.stderr
    assert targets(pve)["nightly"]["targets"] == ["m365", "phone"]


def test_check_warns_as_long_as_there_is_one(pve: ProxmoxHost) -> None:
    """By what root's part read, without Proxmox's commands."""
    put(pve, "/etc/pve/notifications.cfg", SMTP + MATCHERS)

    def found() -> list[dict[str, str]]:
        return [one for one in json.loads(pve.host.admin("check", "--offline", "--json").stdout) if one["name"] == "migration"]

    (one,) = found()
    assert (one["state"], "m365" in one["text"], one["remedy"]) == ("warn", True, "proxmox-graph-mail migrate")
    put(pve, "/etc/pve/notifications.cfg", SMTP.replace("\tcomment", "\tdisable true\n\tcomment"))
    assert found() == []


@pytest.mark.parametrize(
    ("server", "kind"),
    [
        ("smtp.office365.com", "submits"), ("SMTP.Office365.com.", "submits"), ("outlook.office365.com", "submits"), ("smtp.office365.us", "submits"),
        ("example-com.mail.protection.outlook.com", "connects"), ("example-com.a-v1.mx.microsoft", "connects"), ("smtp.gmail.com", ""),
        ("office365.com.evil.example", ""), ("127.0.0.1", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_host_of_microsoft_s(server: str, kind: str) -> None:
    assert (submits(server), connects(server), leads_to_microsoft(server)) == (kind == "submits", kind == "connects", bool(kind))


def test_targets_of_a_configuration() -> None:
    """Other servers, other kinds and what is disabled are left out."""
    text = f"{SMTP}smtp: off\n\tdisable true\n\tserver smtp.office365.com\n\nsmtp: lan\n\tserver 10.0.0.1\n\nsendmail: m\n\tmailto a\n"
    assert smtp_targets(text.splitlines()) == ["m365"]
