#!/usr/bin/python3
"""A Proxmox host's own programs, as far as mail concerns them: pvesh, proxmox-backup-manager, proxmox-mail-forward.

One file under three names. They keep the notification settings in Proxmox's section format, in the files and with the modes that
Proxmox uses, refuse a section of an unknown type, and call sendmail with Proxmox's own words, whose exit status they
ignore. `$PROXMOX_GRAPH_MAIL_ROOT` is put before every path.
"""

import json
import os
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable
from email import message_from_bytes
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any, NoReturn

Product = tuple[str, str, str]
Section = dict[str, Any]

ROOT = os.environ.get("PROXMOX_GRAPH_MAIL_ROOT", "")
SENDMAIL = os.environ.get("LAYER_SENDMAIL", "/usr/sbin/sendmail").split(" ")
KINDS = ("sendmail", "smtp", "gotify", "webhook", "matcher")
ARRAYS = ("mailto", "mailto-user", "target", "match-severity", "match-field", "match-calendar")
PVE = ("/etc/pve/notifications.cfg", "/etc/pve/user.cfg", "Proxmox VE")
PBS = ("/etc/proxmox-backup/notifications.cfg", "/etc/proxmox-backup/user.cfg", f"Proxmox Backup Server - {os.uname().nodename}")
BUILT_IN: dict[str, Section] = {
    "mail-to-root": {"type": "sendmail", "mailto-user": ["root@pam"], "comment": "Send mails to root@pam's email address"},
    "default-matcher": {"type": "matcher", "mode": "all", "target": ["mail-to-root"], "comment": "Route all notifications to mail-to-root"},
}  # fmt: skip


def fail(text: str) -> NoReturn:
    sys.stderr.write(text + "\n")
    sys.exit(255)


def read(path: str) -> dict[str, Section]:
    """Every section, over the built-in ones."""
    found = {name: dict(section, origin="builtin") for name, section in BUILT_IN.items()}
    file = Path(ROOT + path)
    section: Section | None = None
    for line in file.read_text().splitlines() if file.exists() else ():
        if line and not line[0].isspace():
            kind, _, name = line.partition(": ")
            if kind not in KINDS:
                fail(f"parsing {path} failed: unknown section type '{kind}'")
            section = found[name] = {"type": kind, "origin": "modified-builtin" if name in BUILT_IN else "user-created"}
        elif line.strip() and section is not None:
            key, _, value = line.strip().partition(" ")
            if key in ARRAYS:
                section.setdefault(key, []).append(value)
            else:
                section[key] = value == "true" if value in ("true", "false") else value
    return found


def write(path: str, sections: dict[str, Section]) -> None:
    out = []
    for name, section in sections.items():
        if section["origin"] == "builtin":
            continue
        out.append(f"{section['type']}: {name}")
        for key, value in section.items():
            if key not in ("type", "origin"):
                values = value if isinstance(value, list) else [value]
                out += [f"\t{key} {str(one).lower() if isinstance(one, bool) else one}" for one in values]
        out.append("")
    new = Path(f"{ROOT}{path}.new")
    new.write_text("\n".join(out))
    new.chmod(0o640)
    new.rename(ROOT + path)


def address(product: Product, user: str) -> str:
    for line in Path(ROOT + product[1]).read_text().splitlines() if Path(ROOT + product[1]).exists() else ():
        fields = line.split(":")
        if fields[:2] == ["user", user] and len(fields) > 6:
            return fields[6].replace("%40", "@")
        if line.strip().startswith("email "):
            return line.split()[1]
    return ""


def recipients(product: Product, section: Section) -> list[str]:
    found = [*section.get("mailto", []), *(address(product, user) for user in section.get("mailto-user", []))]
    return list(dict.fromkeys(one for one in found if one))


def option(path: str, key: str) -> str:
    lines = Path(ROOT + path).read_text().splitlines() if Path(ROOT + path).exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith(key)), "")


def send(product: Product, section: Section, argv: list[str], message: Callable[[str, list[str]], bytes]) -> None:
    to = recipients(product, section)
    if not to:
        fail("no recipients provided for the mail, cannot send it.")
    sender = section.get("from-address") or option("/etc/pve/datacenter.cfg", "email_from") or "root"
    subprocess.run([*SENDMAIL, *argv, "-f", sender, "--", *to], input=message(sender, to), check=False)


def test_message(product: Product, name: str) -> Callable[[str, list[str]], bytes]:
    def message(sender: str, to: list[str]) -> bytes:
        epoch = int(time.time())
        text = f"This is a test of the notification target '{name}'"
        date = time.strftime("%a, %d %b %Y %H:%M:%S %z")
        boundary = f"----_=_NextPart_002_{epoch}"
        return (
            f'Content-Type: multipart/alternative;\n\tboundary="{boundary}"\nMIME-Version: 1.0\nSubject: Test notification \n'
            f"From: {product[2]} <{sender}>\nTo: {', '.join(to)}\nDate: {date}\nAuto-Submitted: auto-generated;\n\n"
            f'This is a multi-part message in MIME format.\n\n--{boundary}\nContent-Type: text/plain;\n\tcharset="UTF-8"\n'
            f'Content-Transfer-Encoding: 7bit\n\n{text}\n--{boundary}\nContent-Type: text/html;\n\tcharset="UTF-8"\n'
            f"Content-Transfer-Encoding: 7bit\n\n<pre>{text}</pre>\n--{boundary}--"
        ).encode()

    return message


def test(product: Product, name: str) -> None:
    section = read(product[0]).get(name) or fail(f"404: endpoint '{name}' does not exist")
    if section["type"] == "sendmail":
        send(product, section, ["-B", "8BITMIME"], test_message(product, name))


def forward() -> NoReturn:
    """system-mail to every target of every matcher; exit 0 whatever comes of it."""
    raw = sys.stdin.buffer.read()
    for product in (PVE, PBS):
        if not os.path.isdir(ROOT + os.path.dirname(product[0])):
            continue
        sections = read(product[0])
        names = {one for s in sections.values() if s["type"] == "matcher" and not s.get("disable") for one in s.get("target", [])}
        for name in sorted(names):
            section = sections.get(name, {})
            if section.get("type") == "sendmail":
                to = recipients(product, section)
                sender = section.get("from-address") or option("/etc/pve/datacenter.cfg", "email_from") or "root"
                if to:
                    argv = [*SENDMAIL, "-N", "never", "-f", sender, "--", *to]
                    # Postfix runs the real one, which is setuid root, as nobody; and nobody is whom it runs sendmail as.
                    user = {"user": 65534, "group": 65534, "extra_groups": ()} if os.environ.get("LAYER_RUID") else {}
                    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                    subprocess.run(argv, input=raw, check=False, **quiet, **user)  # type: ignore[call-overload]
            elif section.get("type") == "smtp":
                mail = message_from_bytes(raw[raw.find(b"\n") + 1 :] if raw.startswith(b"From ") else raw)
                subject = str(make_header(decode_header(mail["Subject"] or "")))
                with smtplib.SMTP(section["server"], int(section.get("port", 25)), timeout=5) as server:
                    to = recipients(product, section)
                    text = f"From: {section['from-address']}\r\nTo: {', '.join(to)}\r\nSubject: {subject}\r\n\r\n{mail.get_payload()}"
                    server.sendmail(section["from-address"], to, text.encode())
            elif section.get("type") == "gotify":
                with open(f"{ROOT}/var/log/gotify", "ab") as log:
                    log.write(raw + b"\n--\n")
    sys.exit(0)


def options(words: list[str]) -> Section:
    found: Section = {}
    for key, value in zip(words[::2], words[1::2], strict=True):
        name = key.removeprefix("--")
        if name in ARRAYS:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def change(product: Product, kind: str, verb: str, name: str, values: Section) -> None:
    sections = read(product[0])
    if verb == "create":
        if name in sections:
            fail(f"400 Parameter verification failed.\nname: endpoint '{name}' already exists")
        if kind == "sendmail" and not (values.get("mailto") or values.get("mailto-user")):
            fail("400 Parameter verification failed.\nmust at least provide one recipient")
        sections[name] = {"type": kind, "origin": "user-created", **values}
    elif verb in ("set", "update"):
        if name not in sections or sections[name]["type"] != kind:
            fail(f"404: {kind} '{name}' does not exist")
        if "disable" in values:
            if values["disable"] not in (("0", "1") if product is PVE else ("true", "false")):
                fail("400 Parameter verification failed.\ndisable: type check ('boolean') failed")
            values["disable"] = values["disable"] in ("1", "true")
        for one in values.get("target", []):
            if one not in sections or sections[one]["type"] == "matcher":
                fail(f"400 Parameter verification failed.\ntarget: endpoint '{one}' does not exist")
        sections[name] |= values
        sections[name]["origin"] = "modified-builtin" if name in BUILT_IN else "user-created"
    else:
        if name not in sections:
            fail(f"404: endpoint '{name}' does not exist")
        del sections[name]
    write(product[0], sections)


def listing(product: Product, kind: str) -> list[Section]:
    return [
        {"name": name, **section}
        for name, section in read(product[0]).items()
        if (kind == "target" and section["type"] != "matcher") or section["type"] == kind
    ]


def pvesh(verb: str, path: str, *words: str) -> None:
    parts = path.strip("/").split("/")
    assert parts[:2] == ["cluster", "notifications"], path
    parts = parts[2:]
    kind = {"targets": "target", "matchers": "matcher"}.get(parts[0]) or parts[1]
    names = parts[1:] if parts[0] != "endpoints" else parts[2:]
    if verb == "get":
        print(json.dumps(listing(PVE, kind)))
    elif parts[0] == "targets":
        assert (verb, names[1:]) == ("create", ["test"])
        test(PVE, names[0])
    else:
        values = options([word for word in words if word != "--output-format"])
        name = values.pop("name", None) or names[0]
        change(PVE, kind, verb, name, values)


def manager(*words: str) -> None:
    assert words[0] == "notification"
    kind, rest = (words[2], words[3:]) if words[1] == "endpoint" else (words[1], words[2:])
    if rest[0] == "list":
        assert rest[1:] == ("--output-format", "json")
        print(json.dumps(listing(PBS, kind)))
    elif rest[0] == "test":
        test(PBS, rest[1])
    else:
        change(PBS, kind, rest[0], rest[1], options(list(rest[2:])))


if __name__ == "__main__":
    program = os.environ.get("LAYER_NAME") or os.path.basename(sys.argv[0])
    programs: dict[str, Callable[..., None]] = {
        "pvesh": pvesh,
        "proxmox-backup-manager": manager,
        "proxmox-mail-forward": forward,
    }
    programs[program](*sys.argv[1:])
