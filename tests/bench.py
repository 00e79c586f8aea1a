"""`make bench`: what `sendmail` costs its caller, against a bare start of Python in the same run; what the verbs cost that are
asked often, what large mails cost the runner; and what a mail costs when load multiplies (tests/load.py).

The launcher and the modules as the package lays them out, Proxmox's argv, a message of 4 kB, a syslog that takes the line; the
spool in memory, and on a disk, whose two fsyncs are the disk's. Exits 1 where `sendmail` takes more than RATIO_LIMIT times
`python3 -IS -c pass`, or more than 12 MB; when the runner takes more than 5 times a mail of 35 MB and 80 MB, or its time grows
faster than the mail. What load costs is printed beside its limit: it depends on what else the machine does.
"""

import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

from tests import load
from tests.programs import ADMIN, LAUNCHER, TREE, Host, Sandbox, Syslog
from tests.programs import PYTHON as PYTHON_HERE

PYTHON = "/usr/bin/python3"
RUNS = 200
RATIO_WANTED, RATIO_LIMIT = 1.25, 1.5
MEMORY_LIMIT = 12_000
"""Kilobytes of resident memory at most."""
LARGE = (35, 70, 150)
"""Megabytes of the large mails: the default limit of a mailbox, twice that, and the highest."""
FACTOR, BASE = 5, 80
"""A mail may take so many times its size, and the program so many megabytes, at LARGE[0]."""
GROWTH = 1.5
VERB_RATIO = 3
"""Times `mailq` of an empty queue that LIMITED verbs may take: monitoring asks them every minute."""
LIMITED = ("--version", "status", "status --nagios")
MESSAGE = b"Subject: vzdump backup status\nFrom: Proxmox VE <root>\nTo: admin@example.com\n\n" + b"INFO: a line of log\n" * 200


PEAK = (
    "import os, posix, sys\n"
    "leave = os._exit\n"
    "def show(status):\n"
    "    with open('/proc/self/status') as file:\n"
    "        os.write(1, next(line for line in file if line.startswith('VmHWM')).split()[1].encode())\n"
    "    leave(status)\n"
    "os._exit = posix._exit = show\n"
    "__file__ = sys.argv.pop(0) and sys.argv[0]\n"
    "exec(compile(open(__file__).read(), __file__, 'exec'))\n"
)
"""Runs a program and writes its own peak: wait4's is that of the process it was forked from."""


def seconds(command: list[str], env: dict[str, str]) -> float:
    """How long one run takes, from its start to its exit."""
    start = time.perf_counter()
    done = subprocess.run(command, input=MESSAGE, env=env, check=False, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - start
    assert done.returncode == 0, command
    return took


def large(megabytes: int, host: Host, sandbox: Sandbox) -> tuple[float, float]:
    """Peak memory (MB) and seconds of a pass that sends one mail of so many MB by way of a draft."""
    mail = EmailMessage()
    mail["Subject"] = "large"
    mail.set_content("x")
    content = random.Random(megabytes).randbytes(megabytes * 740_000)
    mail.add_attachment(content, maintype="application", subtype="octet-stream", filename="dump.bin")
    assert host.sendmail("-odq", "root", stdin=mail.as_bytes()).returncode == 0
    began = time.perf_counter()
    process = subprocess.Popen(host.admin_command("run", "--once"), env=host.env)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1000, time.perf_counter() - began


def large_mails() -> bool:
    """What large mails cost the queue runner; whether that is within the limits."""
    host, sandbox = Host(), Sandbox()
    try:
        host.settle(sandbox.settings())
        sandbox.control(roles=["Mail.Send", "Mail.ReadWrite"], mailbox_limit=200_000_000)
        costs = {size: large(size, host, sandbox) for size in LARGE}
    finally:
        sandbox.close()
        host.close()
    print()
    for size, (peak, took) in costs.items():
        print(f"mail of {size:>3} MB        {peak:6.0f} MB   {took:4.1f} s")
    allowed = FACTOR * LARGE[0] + BASE
    growth = (costs[LARGE[-1]][1] / costs[LARGE[0]][1]) / (LARGE[-1] / LARGE[0])
    print(f"limits: {allowed:.0f} MB for {LARGE[0]} MB; time per MB grows by {growth:.2f}, limit {GROWTH}")
    return costs[LARGE[0]][0] <= allowed and growth <= GROWTH


def verbs() -> bool:
    """What the verbs cost that are asked often, beside `mailq` of an empty queue; whether that is within the limit."""
    host, sandbox = Host(), Sandbox()
    try:
        host.settle(sandbox.settings())
        commands = {"mailq": host.command("mailq"), "queue list": [PYTHON_HERE, "-I", str(ADMIN), "queue", "list"]}
        for words in ("--version", "status", "status --nagios"):
            commands[words] = [PYTHON_HERE, "-I", str(ADMIN), *words.split()]
        commands["run --once"] = [PYTHON_HERE, "-I", str(ADMIN), "run", "--once"]
        for command in commands.values():
            seconds(command, host.env)  # compiles the modules, and keeps what `status` shows of the settings
        costs = {name: statistics.median(seconds(command, host.env) for _ in range(20)) for name, command in commands.items()}
    finally:
        sandbox.close()
        host.close()
    print()
    for name, took in costs.items():
        limit = f"   limit {VERB_RATIO}" if name in LIMITED else ""
        print(f"{name:<18} {took * 1000:6.0f} ms   {took / costs['mailq']:4.1f} times mailq{limit}")
    return all(costs[name] <= VERB_RATIO * costs["mailq"] for name in LIMITED)


def installed(folder: Path) -> Path:
    """The launcher and the modules, as the package lays them out."""
    house = folder / "house"
    shutil.copytree(TREE / "proxmox_graph_mail", house / "proxmox_graph_mail", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([PYTHON, "-IS", TREE / "packaging" / "fast-path", house], check=True)
    script = folder / "sendmail"
    script.write_text(re.sub(r"(?m)^HOUSE = .*$", f'HOUSE = "{house}"', LAUNCHER.read_text()))
    return script


def sendmail(memory: Path | None, name: str) -> tuple[float, int]:
    """Its cost with a spool in this place: times a bare start, and kilobytes of memory."""
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        spool, script = Path(folder), installed(Path(folder))
        for directory in ("queue", "failed"):
            (spool / directory).mkdir()
        os.mkfifo(spool / "wake")
        runner = os.open(spool / "wake", os.O_RDWR | os.O_NONBLOCK)  # somebody listens, as on a host
        syslog = Syslog(spool / "log")
        env = {
            "PROXMOX_GRAPH_MAIL_SPOOL": folder, "PROXMOX_GRAPH_MAIL_RUN": folder, "PROXMOX_GRAPH_MAIL_SYSLOG": str(syslog.path)
        }  # fmt: skip
        argv = [str(script), "-B", "8BITMIME", "-f", "root", "--", "admin@example.com"]
        bare, ours = [PYTHON, "-IS", "-c", "pass"], [PYTHON, "-IS", *argv]
        seconds(ours, env)
        pairs = [(seconds(bare, env), seconds(ours, env)) for _ in range(RUNS)]
        peak = subprocess.run([PYTHON, "-IS", "-c", PEAK, *argv], input=MESSAGE, env=env, check=True, capture_output=True).stdout
        queued = len(list((spool / "queue").iterdir()))
        syslog.close()
        os.close(runner)
    assert queued == RUNS + 2
    ratio = statistics.median(mine / theirs for theirs, mine in pairs)
    base, cost = (statistics.median(pair[i] for pair in pairs) * 1000 for i in (0, 1))
    print(
        f"sendmail, spool {name:<10} {cost:6.1f} ms   python3 -IS -c pass {base:5.1f} ms   {int(peak) / 1000:.1f} MB   "
        f"ratio {ratio:.2f}, wanted {RATIO_WANTED}   (median of {RUNS} pairs)"
    )
    return ratio, int(peak)


def main() -> None:
    ratio, peak = sendmail(Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None, "in memory")
    sendmail(Path("/var/tmp"), "on a disk")
    good = ratio <= RATIO_LIMIT and peak <= MEMORY_LIMIT
    good = verbs() and good
    good = large_mails() and good
    load.main()
    if not good:
        print("over the limit")
        sys.exit(1)


if __name__ == "__main__":
    main()
