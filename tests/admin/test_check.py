"""`check` and `explain`: each thing that may be wrong is named, with what to do."""

import json
import os
import time
from typing import Any

import pytest

from proxmox_graph_mail.graph.codes import ENTRA, GRAPH
from proxmox_graph_mail.spool import journal
from proxmox_graph_mail.spool.journal import Event
from tests.programs import Host, Sandbox


def findings(host: Host, *argv: str) -> dict[str, dict[str, Any]]:
    done = host.admin("check", "--json", *argv)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == any(one["state"] == "fail" for one in found), done.stdout
    by_name: dict[str, dict[str, Any]] = {}
    for one in found:
        if one["name"] not in by_name or one["state"] != "ok":
            by_name[one["name"]] = one
    return by_name


def test_when_all_is_well(online: Host, sandbox: Sandbox) -> None:
    """ok and no more; no mail is sent by it; a person reads one line each."""
    online.config.chmod(0o640)
    found = findings(online)
    bad = {name: one for name, one in found.items() if one["state"] != "ok"}
    assert set(bad) <= {"expiry", "sendmail", "tls", "units", "scope"}, bad  # the stand-in's CA is none of Microsoft's
    assert "TLS is inspected between here and Microsoft" in found["tls"]["remedy"]
    assert "GRAPH_CLIENT_SECRET" in found["settings"]["text"]
    assert str(online.config) in found["settings"]["text"]
    assert sandbox.about["secret"] not in json.dumps(found)
    assert found["admin"]["text"].startswith("admin@example.com (from MAIL_TO)")
    assert "with Mail.Send" in found["token"]["text"]
    assert found["mailbox"]["text"] == "Graph lets the app send as pve@example.com"
    assert found["clock"]["state"] == "ok"
    assert sandbox.accepted() == []
    lines = online.admin("check", NO_COLOR="1").stdout.splitlines()
    assert any(line.startswith("ok    mailbox       Graph lets the app") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_offline_asks_nobody(online: Host, sandbox: Sandbox) -> None:
    """No connection."""
    before = sandbox.control()["counts"]["token"]
    found = findings(online, "--offline")
    assert "token" not in found
    assert sandbox.control()["counts"]["token"] == before


@pytest.mark.parametrize(
    ("settings", "name", "state", "words"),
    [
        ({"GRAPH_CLIENT_SECRET": "wrong~secret"}, "token", "fail", "set GRAPH_CLIENT_SECRET to the secret's Value"),
        ({"GRAPH_TENANT_ID": "nowhere.example"}, "token", "fail", "check GRAPH_TENANT_ID"),
        ({"GRAPH_SENDER": "nobody@example.com"}, "mailbox", "fail", "there is no such mailbox"),
        ({"CREDENTIAL_EXPIRES": "2020-01-01"}, "expiry", "fail", "days ago, on 2020-01-01"),
        ({"CREDENTIAL_EXPIRES": time.strftime("%Y-%m-%d", time.localtime(time.time() + 20 * 86400))}, "expiry", "warn", "in 20 days"),
        ({"GRAPH_CLIENT_CERTIFICATE": "/nowhere.pem", "GRAPH_CLIENT_SECRET": ""}, "files", "fail", "/nowhere.pem: No such file"),
        ({"MAIL_TO": ""}, "admin", "warn", "pve@example.com (from the sending mailbox"),
        ({"GRAPH_ENDPOINT": "https://localhost:1"}, "tls", "fail", "cannot connect to localhost"),
        ({"GRAPH_ENDPOINT": "https://no-such-host.invalid"}, "dns", "fail", "no-such-host.invalid"),
        ({"GRAPH_CA_FILE": ""}, "tls", "fail", "issued the certificate"),
        ({"GRAPH_SENDRE": "x"}, "settings", "fail", "did you mean GRAPH_SENDER?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    online: Host, sandbox: Sandbox, settings: dict[str, str], name: str, state: str, words: str
) -> None:
    """…with its remedy."""
    online.settle(sandbox.settings(**settings))
    online.config.chmod(0o640)
    one = findings(online)[name]
    assert one["state"] == state
    assert words in f"{one['text']}: {one['remedy']}"


def test_what_needs_a_broken_step_is_not_tried(online: Host, sandbox: Sandbox) -> None:
    """Without a line there is no token to ask for, and no half minute to wait for it."""
    online.settle(sandbox.settings(GRAPH_ENDPOINT="https://localhost:1"))
    found = findings(online)
    assert found["tls"]["state"] == "fail"
    assert not {"token", "mailbox"} & found.keys()
    assert "queue" in found


def test_an_unrestricted_app_is_a_warning_and_rbac_is_none(online: Host, sandbox: Sandbox) -> None:
    """With Mail.Send of Entra's it may send as everybody; with RBAC Exchange decides, and without either the mailbox fails."""
    assert "may send as every mailbox" in (scope := findings(online)["scope"])["text"]
    assert (scope["state"], "entra rbac" in scope["remedy"]) == ("warn", True)
    sandbox.control(roles=[], scope=["pve@example.com"])
    found = findings(online)
    assert (found["token"]["state"], found["scope"]["state"], found["mailbox"]["state"]) == ("ok", "ok", "ok")
    sandbox.control(scope=[])
    found = findings(online)
    assert found["mailbox"]["state"] == "fail"
    assert "RBAC scope" in found["mailbox"]["text"]


def test_it_is_tried_whether_the_app_may_send_as_somebody_else(online: Host, sandbox: Sandbox) -> None:
    """Refused is ok, allowed fails, a mailbox that does not exist proves nothing; nobody gets anything."""
    sandbox.control(mailboxes=["pve@example.com", "ceo@example.com"])
    found = findings(online, "--not-as", "ceo@example.com")["not as"]
    assert (found["state"], found["text"]) == ("fail", "the app may send as ceo@example.com")
    found = findings(online, "--not-as", "nobody@example.com")["not as"]
    assert (found["state"], "this one proves nothing" in found["remedy"]) == ("warn", True)
    sandbox.control(roles=[], scope=["pve@example.com"])
    assert findings(online, "--not-as", "ceo@example.com")["not as"]["state"] == "ok"
    assert not sandbox.accepted()
    assert online.admin("check", "--not-as", "ceo").returncode == 64


def test_files_that_everybody_may_read_and_a_queue_that_does_not_move(online: Host) -> None:
    """Both are worth a word."""
    online.config.chmod(0o644)
    online.sendmail("-odq", "root")
    (queue_id,) = online.queue()
    journal.append(str(online.spool / "queue"), queue_id, Event(time.time(), journal.ATTEMPT, "held", "no such mailbox"))
    found = findings(online, "--offline")
    assert found["files"]["state"] == "fail"
    assert "1 held (no such mailbox)" in found["queue"]["text"]


def test_a_clock_that_is_wrong(online: Host, sandbox: Sandbox) -> None:
    """By the answer's Date."""
    from proxmox_graph_mail.graph import probe

    assert probe._skew("Wed, 25 Nov 2020 10:00:00 GMT") > 86400  # type: ignore[operator]
    assert probe._skew("nonsense") is None


@pytest.mark.parametrize("code", [*GRAPH, *(f"AADSTS{number}" for number in ENTRA)])
def test_every_code_is_explained(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence, and what becomes of the mail."""
    from proxmox_graph_mail.admin.explain import explain

    explain(code)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(".")
    assert lines[-1].startswith(("The mail ", "Graph refuses this one message"))


def test_a_code_that_is_none_and_one_in_another_form(host: Host) -> None:
    """A near one is guessed; the number alone will do."""
    assert "set GRAPH_CLIENT_SECRET to the secret's Value" in host.admin("explain", "7000215").stdout
    assert host.admin("explain", "erroraccessdenied").returncode == 0
    done = host.admin("explain", "ErrorAcessDenied")
    assert done.returncode == 65
    assert "did you mean ErrorAccessDenied?" in done.stderr


def test_check_cluster_asks_every_node(online: Host) -> None:
    """Its own state, the others' by ssh; one that does not answer fails, one whose settings differ is a warning."""
    if os.geteuid() != 0:
        pytest.skip("the cluster's nodes are root's")
    here = os.uname().nodename.lower().partition(".")[0]
    root = online.root
    (root / "etc/pve/nodes").mkdir(parents=True)
    nodes = "".join(f"  node {{\n    name: {name}\n  }}\n" for name in (here, "pve2", "pve3"))
    (root / "etc/pve/corosync.conf").write_text(f"nodelist {{\n{nodes}}}\ntotem {{\n  cluster_name: prod\n}}\n")
    state = online.admin("status", "--json").stdout.replace('"fingerprint": "', '"fingerprint": "other-')
    (online.folder / "state.json").write_text(state)
    ssh = online.programs / "ssh"
    ssh.write_text(
        f'#!/bin/sh\nfor word; do last=$word; done\ncase "$*" in *root@pve2*) cat {online.folder}/state.json;; '
        "*) echo 'ssh: connect to host pve3 port 22: No route to host' >&2; exit 255;; esac\n"
    )
    ssh.chmod(0o755)
    done = online.admin("check", "--cluster", "--json", PATH=f"{online.programs}:/usr/bin:/bin")
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert (found[here]["state"], found["pve2"]["state"], found["pve3"]["state"]) == ("ok", "ok", "fail")
    assert "No route to host" in found["pve3"]["text"]
    assert found["settings"]["state"] == "warn"
    assert found["versions"]["state"] == "ok"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("no-such-curl -s -d @- https://ntfy.example.com", "no-such-curl"), ("cat >/dev/null", ""), ("x=1 cat | no-such-b; echo 'no-such-c'", "no-such-b"),
        ("/no/such/program", "/no/such/program"), ("$PROGRAM x", ""), ("logger 'open", ""), ("(cat; no-such-d) && true", "no-such-d"),
    ],
)  # fmt: skip
def test_the_programs_of_alarm_command_are_looked_for(online: Host, sandbox: Sandbox, command: str, missing: str) -> None:
    """By the path that it will have; curl of the documents on a host without curl."""
    online.settle(sandbox.settings(ALARM_COMMAND=f'"{command}"'))
    found = findings(online, "--offline")
    if "'open" in command:
        assert found.get("alarm", {}).get("state") == "ok"
        return
    assert found["alarm"]["state"] == ("fail" if missing else "ok")
    assert not missing or f"calls {missing}, which" in found["alarm"]["text"]
