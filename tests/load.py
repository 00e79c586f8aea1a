"""`make bench`, second half: what a mail costs when load multiplies: long queues, many failed mails, many users at once.

Each number stands beside its limit, and beside its peer in the same run where it has one. The stand-in for Graph runs on the same
processors, so rates are lower than on a host; the ratio to bare connections is not.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.programs import DEBIAN_PYTHON, Host, Sandbox

TICK = os.sysconf("SC_CLK_TCK")
LENGTHS = (1_000, 10_000, 100_000)
MEASURED = 800  # mails of a drain that are measured
MANY = 100_000
MESSAGE = b"Subject: vzdump backup status\n\n" + b"INFO: a line of log\n" * 20
BARE = """
import http.client, json, ssl, sys, threading, time
host, port, ca, token, path, body, count = json.load(sys.stdin)
context = ssl.create_default_context(cafile=ca)
left, mutex = [count], threading.Lock()
head = {"Authorization": "Bearer " + token, "Content-Type": "application/json",
        "client-request-id": "e5383b60-a0f7-44cc-a777-9dad1d92b92d"}
def send():
    connection = http.client.HTTPSConnection(host, port, context=context)
    while True:
        with mutex:
            if not left[0]: return
            left[0] -= 1
        connection.request("POST", path, body, head)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202
threads = [threading.Thread(target=send) for _ in range(4)]
begun = time.perf_counter()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(count / (time.perf_counter() - begun))
"""
"""Four connections that do nothing but send one body."""


def row(name: str, value: float, unit: str, limit: float, *, least: bool = False, note: str = "") -> None:
    """A number beside its limit."""
    over = value < limit if least else value > limit
    print(
        f"{name:<58} {value:8.2f} {unit:<3} {'at least' if least else 'limit'} {limit:g}{'   OVER' if over else ''}{note}",
        flush=True,
    )


def cpu(pid: int) -> float:
    """Seconds of processor time of a process and of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / TICK


def fill(host: Host, directory: str, count: int) -> None:
    """So many messages, as sendmail makes them."""
    assert host.sendmail("-odq", "root", stdin=MESSAGE).returncode == 0
    queue = host.spool / "queue"
    (one,) = queue.iterdir()
    data = one.read_bytes()
    one.unlink()
    begun = time.time_ns() // 1000 - count
    for number in range(count):
        path = str(host.spool / directory / f"{begun + number:013X}{number % 0xFFFFF:05X}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
        os.write(fd, data)
        os.close(fd)
        os.utime(path, (0, 0))


@dataclass
class Drain:
    cpu: float  # milliseconds a mail
    rate: float  # mails a second
    first: float  # seconds until the first mail was taken
    memory: float  # megabytes


def drain(queued: int, *, failed: int = 0, latency: float = 0.0, bare: bool = False) -> tuple[Drain, float]:
    """What the runner costs; and the rate of four bare connections, if wanted."""
    with a_host() as (host, sandbox):
        sandbox.control(latency=latency)
        rate = bare_rate(host, sandbox) if bare else 0.0
        sandbox.control(forget=True)
        fill(host, "failed", failed) if failed else None
        fill(host, "queue", queued)
        runner = subprocess.Popen(host.admin_command("run"), env=host.env)
        begun = time.perf_counter()

        def reach(count: int) -> tuple[int, float, float]:
            while (sent := sandbox.counts()["sendmail"]) < count:
                time.sleep(0.02 if count == 1 else 0.25)  # looking costs the stand-in time
            return sent, cpu(runner.pid), time.perf_counter()

        _, _, first = reach(1)
        some, cpu_then, then = reach(50)
        last, cpu_now, now = reach(min(queued - 20, MEASURED))
        memory = next(line for line in Path(f"/proc/{runner.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        runner.kill()
        runner.wait()
        count = last - some
        return Drain(
            (cpu_now - cpu_then) / count * 1000, count / (now - then), first - begun, int(memory.split()[1]) / 1000
        ), rate


def bare_rate(host: Host, sandbox: Sandbox) -> float:
    """Mails a second of four connections that do nothing else."""
    assert host.sendmail("-odq", "root", stdin=MESSAGE).returncode == 0
    assert host.admin("run", "--once").returncode == 0
    message = sandbox.accepted()[0]["message"]
    tokens = json.loads((host.state / "tokens.json").read_text())
    token = next(entry["token"] for entry in tokens.values() if "token" in entry)
    settings = sandbox.settings()
    url = urlsplit(settings["GRAPH_ENDPOINT"])
    body = json.dumps({"message": message, "saveToSentItems": False})
    given = [
        url.hostname,
        url.port,
        settings["GRAPH_CA_FILE"],
        token,
        f"/v1.0/users/{settings['GRAPH_SENDER']}/sendMail",
        body,
        800,
    ]
    done = subprocess.run([sys.executable, "-c", BARE], input=json.dumps(given), capture_output=True, text=True, check=True)
    return float(done.stdout)


@contextmanager
def a_host() -> Iterator[tuple[Host, Sandbox]]:
    host, sandbox = Host(), Sandbox()
    try:
        host.settle(sandbox.settings())
        yield host, sandbox
    finally:
        sandbox.close()
        host.close()


def queues() -> None:
    """Drains, at every length."""
    for length in LENGTHS:
        found, _ = drain(length)
        row(f"drain, processor time a mail, {length:,} queued", found.cpu, "ms", 4.0, note=f"   ({found.memory:.0f} MB)")
        row(f"first mail after the runner's start, {length:,} queued", found.first, "s", 1.5)
    found, _ = drain(1000, failed=MANY)
    row(f"drain, processor time a mail, {MANY:,} in failed/", found.cpu, "ms", 4.0)
    ratios = []
    for _ in range(3):
        found, bare = drain(1000, latency=0.03, bare=True)
        ratios.append(found.rate / bare * 100)
    row("drain at 30 ms, of four bare connections (median of 3)", statistics.median(ratios), "%", 95, least=True)


def submission() -> None:
    """Another user's mail over the submit socket."""
    with a_host() as (host, _), host.submit_socket(PROXMOX_GRAPH_MAIL_PASS="no"):
        command, options = host.other_user_command("-odq", "root")

        def submit(count: int) -> float:
            """Milliseconds of processor time of the whole host a mail: clients and receiver."""
            assert host.receiver is not None
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            receiver = cpu(host.receiver.pid)
            for _ in range(count):
                assert subprocess.run(command, input=MESSAGE, check=False, **options).returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            return (own + cpu(host.receiver.pid) - receiver) / count * 1000

        submit(3)
        row("accept over the submit socket, processor time a mail", submit(100), "ms", 25.0)
        begun = time.perf_counter()
        shells = [subprocess.Popen([DEBIAN_PYTHON, "-c", SHELL, json.dumps(command)], **options) for _ in range(20)]
        assert [shell.wait() for shell in shells] == [0] * 20
        row("200 mails of one user from 20 shells", time.perf_counter() - begun, "s", 3.0)
        fill_failed(host)
        submit(1)  # whoever has no count yet is counted once
        row(f"accept over the submit socket, {MANY:,} in failed/", submit(50), "ms", 25.0)


SHELL = (
    "import json, subprocess, sys\n"
    "for _ in range(10): subprocess.run(json.loads(sys.argv[1]), input=b'Subject: x\\n\\ny', check=True)"
)


def fill_failed(host: Host) -> None:
    for path in (host.spool / "queue").iterdir():
        path.unlink()
    fill(host, "failed", MANY)


def status() -> None:
    """What monitoring asks, of a long queue."""
    with a_host() as (host, _):
        fill(host, "queue", MANY)
        host.admin("status")
        begun = time.perf_counter()
        host.admin("status", "--nagios")
        row(f"status --nagios, {MANY:,} queued", time.perf_counter() - begun, "s", 1.0)


def main() -> None:
    print()
    for part in (queues, submission, status):
        part()
