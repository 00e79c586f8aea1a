"""`make demo`: the main job on this machine, without network and without root.

Starts the stand-in for Microsoft (Entra and Graph, TLS, as strict as they are documented), writes settings, starts the
queue runner, hands real-shaped mails to `sendmail` exactly as Proxmox, cron, smartd and a script call it, and shows what
Graph accepted. Everything lies in .demo/ afterwards.
"""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.programs import LAUNCHER, TREE, Host, Sandbox, eventually

FOLDER = TREE / ".demo"
CORPUS = TREE / "tests" / "corpus"
MAILS = [
    ("Proxmox VE, after a backup job", "vzdump-report", "-B 8BITMIME -f root -- admin@example.com"),
    ("cron, a job's output", "cron", "-FCronDaemon -i -B8BITMIME -oem root"),
    ("smartd, by mail(1)", "smartd-says-ascii-writes-utf8", "-i -t"),
    ("a script, with an attachment", "script-with-attachment", "-t -oi -f backup@example.org"),
]


def address(person: dict[str, Any]) -> str:
    """`Name <address>`."""
    mailbox = person["emailAddress"]
    return f"{mailbox['name']} <{mailbox['address']}>" if mailbox.get("name") else str(mailbox["address"])


def show(number: int, mail: dict[str, Any], page: Path) -> None:
    """What Graph accepted."""
    message = mail["message"]
    print(f"  {number}. {message['subject']}")
    print(f"     from {address(message['from'])}")
    for key, word in (("toRecipients", "to"), ("ccRecipients", "cc"), ("bccRecipients", "bcc"), ("replyTo", "reply to")):
        if message.get(key):
            print(f"     {word} {', '.join(address(person) for person in message[key])}")
    for file in message.get("attachments", []):
        print(f"     attached {file['name']} ({file['contentType']})")
    print(f"     open {page.relative_to(TREE)}")


def large_mail() -> bytes:
    """20 MB: a log, which compresses, and a dump, which does not."""
    mail = EmailMessage()
    mail["Subject"] = "20 MB: a log and a dump"
    mail.set_content("Attached: the log of the night, and the dump.\n")
    mail.add_attachment("".join(f"INFO: block {n} copied\n" for n in range(200_000)), filename="night.log")
    mail.add_attachment(
        random.Random(1).randbytes(12_000_000), maintype="application", subtype="octet-stream", filename="dump.bin"
    )
    return mail.as_bytes()


def show_large(host: Host, sandbox: Sandbox) -> None:
    """The same large mail with and without the permission that lets it arrive whole."""
    message = large_mail()
    print(f"\nA mail of {len(message) / 1e6:.0f} MB; a Graph request takes 4.")
    for roles, words in ((["Mail.Send", "Mail.ReadWrite"], "with Mail.ReadWrite"), (["Mail.Send"], "with Mail.Send alone")):
        sandbox.control(roles=roles, forget=True)
        for token in host.state.iterdir():
            token.unlink()  # a token carries its permissions for an hour
        began = time.monotonic()
        with host.runner():
            command = [sys.executable, "-IS", str(LAUNCHER), "root"]
            subprocess.run(command, input=message, env=host.env, check=True)
            eventually(sandbox.accepted, "it arrives", 120)
            eventually(lambda: host.queue() == [], "the queue is empty")
        (mail,) = sandbox.accepted()
        print(f"  {words}, after {time.monotonic() - began:.1f} s:")
        for file in mail["message"]["attachments"]:
            print(f"     attached {file['name']} ({len(file['contentBytes']) * 3 / 4e6:.1f} MB)")
        content = mail["message"]["body"]["content"]
        for line in content.partition('padding-left:6px">')[2].partition("</p>")[0].split("<br>") if "kept on" in content else ():
            print(f"     {line}")


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.umask(0o077)  # the settings hold a secret
    host, sandbox = Host(), Sandbox()
    try:
        host.settle(sandbox.settings())
        print(f"Microsoft's place is taken by a server on this machine: {sandbox.url}")
        print("Settings: tenant, client, secret, sender pve@example.com, and MAIL_TO=admin@example.com for root's mail.\n")
        with host.runner():
            print("Handed to sendmail:")
            start = time.monotonic()
            for number, (who, name, argv) in enumerate(MAILS, 1):
                message = (CORPUS / f"{name}.eml").read_bytes()
                command = [sys.executable, "-IS", str(LAUNCHER), *shlex.split(argv)]
                began = time.monotonic()
                status = subprocess.run(command, input=message, env=host.env, check=False).returncode
                took = (time.monotonic() - began) * 1000
                print(f"  {number}. {who}: {len(message)} bytes\n     sendmail {argv}\n     exit {status} after {took:.0f} ms")
                if status != 0:
                    sys.exit(f"sendmail refused {name}")
            eventually(lambda: len(sandbox.accepted()) == len(MAILS), "everything arrives")
            took = time.monotonic() - start
            eventually(lambda: host.queue() == [], "the queue is empty")
        accepted = sandbox.accepted()
        FOLDER.mkdir()
        print(f"\nAccepted by Graph, all of it {took:.2f} s after the first byte was submitted:")
        by_subject = sorted(accepted, key=lambda mail: mail["time"])
        for number, mail in enumerate(by_subject, 1):
            page = FOLDER / f"{number}.html"
            page.write_text(mail["message"]["body"]["content"], "utf-8")
            (FOLDER / f"{number}.json").write_text(json.dumps(mail["message"], indent=1, ensure_ascii=False), "utf-8")
            show(number, mail, page)
        counts = sandbox.counts()
        print(f"\n{counts['sendmail']} sendMail requests, {counts['token']} token request, queue empty.")
        show_large(host, sandbox)
        print("\nWhat the log says:")
        for line in host.syslog.read():
            print(f"  {line}")
        (FOLDER / "log").write_text("\n".join(host.syslog.read()) + "\n", "utf-8")
    finally:
        sandbox.close()
        host.close()


if __name__ == "__main__":
    main()
