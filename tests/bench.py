"""`make bench`: what `sendmail` costs its caller, against a bare start of Python in the same run.

The packaged launcher, Proxmox's argv, a message of 4 kB, a spool in memory (a disk's fsync is the disk's). Exits 1 when it
takes more than 1.6 times `python3 -IS -c pass`, or more than 12 MB.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.programs import LAUNCHER

PYTHON = "/usr/bin/python3"
RUNS = 200
RATIO_LIMIT = 1.6
MEMORY_LIMIT = 12_000
"""Kilobytes of resident memory at most."""
MESSAGE = b"Subject: vzdump backup status\nFrom: Proxmox VE <root>\nTo: admin@example.com\n\n" + b"INFO: a line of log\n" * 200


PEAK = (
    "import os, sys\n"
    "leave = os._exit\n"
    "def show(status):\n"
    "    with open('/proc/self/status') as file:\n"
    "        os.write(1, next(line for line in file if line.startswith('VmHWM')).split()[1].encode())\n"
    "    leave(status)\n"
    "os._exit = show\n"
    "__file__ = sys.argv.pop(0) and sys.argv[0]\n"
    "exec(compile(open(__file__).read(), __file__, 'exec'))\n"
)
"""Runs a program and writes its own peak: wait4's is that of the process it was forked from."""


def seconds(command: list[str], env: dict[str, str]) -> float:
    """How long one run takes, from its start to its exit."""
    start = time.perf_counter()
    done = subprocess.run(command, input=MESSAGE, env=env, check=False)
    took = time.perf_counter() - start
    assert done.returncode == 0, command
    return took


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


if __name__ == "__main__":
    main()
