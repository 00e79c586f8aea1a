"""`make bench`: what `sendmail` costs its caller, against a bare start of Python in the same run; what
the verbs cost that are asked often, and what large mails cost the runner.

The packaged launcher, Proxmox's argv, a message of 4 kB, a spool in memory (a disk's fsync is the disk's). Exits 1 when it
takes more than 1.6 times `python3 -IS -c pass`, or more than 12 MB; when the runner takes more than 5 times a mail of 35 MB
and 80 MB, or its time grows faster than the mail.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

from tests.programs import ADMIN, LAUNCHER, Host, Sandbox
from tests.programs import PYTHON as PYTHON_HERE

PYTHON = "/usr/bin/python3"
RUNS = 200
RATIO_LIMIT = 1.6
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


def main() -> None:
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        for name in ("queue", "failed"):
            (Path(folder) / name).mkdir()
        os.mkfifo(f"{folder}/wake")
        runner = os.open(f"{folder}/wake", os.O_RDWR | os.O_NONBLOCK)  # somebody listens, as on a host
        env = {"PROXMOX_GRAPH_MAIL_SPOOL": folder, "PROXMOX_GRAPH_MAIL_RUN": folder, "PROXMOX_GRAPH_MAIL_SYSLOG": "/nowhere"}
        argv = [str(LAUNCHER), "-B", "8BITMIME", "-f", "root", "--", "admin@example.com"]
        bare, ours = [PYTHON, "-IS", "-c", "pass"], [PYTHON, "-IS", *argv]
        seconds(ours, env)  # compiles the modules, as the package does at installation
        pairs = [(seconds(bare, env), seconds(ours, env)) for _ in range(RUNS)]
        peak = subprocess.run([PYTHON, "-IS", "-c", PEAK, *argv], input=MESSAGE, env=env, check=True, capture_output=True).stdout
        queued = len(list((Path(folder) / "queue").iterdir()))
        os.close(runner)
    assert queued == RUNS + 2
    ratio = statistics.median(mine / theirs for theirs, mine in pairs)
    base, cost = (statistics.median(pair[i] for pair in pairs) * 1000 for i in (0, 1))
    print(f"python3 -IS -c pass   {base:6.1f} ms")
    print(f"sendmail              {cost:6.1f} ms   {int(peak) / 1000:.1f} MB   (median of {RUNS} pairs)")
    print(f"ratio                 {ratio:6.2f}      limits: {RATIO_LIMIT}, {MEMORY_LIMIT / 1000:.0f} MB")
    if ratio > RATIO_LIMIT or int(peak) > MEMORY_LIMIT:
        print("over the limit")
        sys.exit(1)
    if not verbs() or not large_mails():
        print("over the limit")
        sys.exit(1)


if __name__ == "__main__":
    main()
