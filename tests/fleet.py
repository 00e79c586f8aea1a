"""`make fleet`: many nodes, one mailbox, no coordinator; on a virtual clock.

Every node is the product's own runner, with its index, suspension, schedule, throttle and Graph client, and a spool of its own;
the model is the mailbox's limits alone: four requests at once, 10,000 in ten minutes, and those that are refused count (Graph,
"Throttling limits", Outlook). Printed for each scenario: when the last mail was taken, as a multiple of what the limit allows,
requests refused a mail, and what was lost or sent twice, which is always 0.
"""

import argparse
import heapq
import itertools
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx

from proxmox_graph_mail.delivery.configuration import Configuration
from proxmox_graph_mail.delivery.digest_rule import DigestRule
from proxmox_graph_mail.delivery.events import Events
from proxmox_graph_mail.delivery.pace import ANY_PACE, Policy
from proxmox_graph_mail.delivery.relay import Relay
from proxmox_graph_mail.delivery.runner import Runner
from proxmox_graph_mail.delivery.surroundings import Surroundings
from proxmox_graph_mail.graph.credential import Token
from proxmox_graph_mail.graph.http import Answer, Wire
from proxmox_graph_mail.graph.mailbox import SendingMailbox
from proxmox_graph_mail.graph.permissions import Permissions
from proxmox_graph_mail.graph.request import Graph
from proxmox_graph_mail.graph.throttle import AT_ONCE, Throttle
from proxmox_graph_mail.graph.token_cache import TokenCache
from proxmox_graph_mail.host import Host
from proxmox_graph_mail.message.aliases import Aliases
from proxmox_graph_mail.message.recipients import AddressBook
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.store import Spool
from tests.sandbox.outbox import DAILY, RATE, Outbox

LATENCY = 0.35  # seconds that Exchange Online takes for a mail
WINDOW, REQUESTS = 600.0, 10_000
BEGIN = 2e9
LIMIT_RATIO, LIMIT_REFUSED = 3.0, 6.0
"""What a thousand nodes may take: times the limit's time, and refusals a mail."""


class Waiter:
    """A thread that waits for the clock, or for another one."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.waits = self.done = False


class Clock:
    """Virtual time: it moves when every thread waits, to the first that waits for a time; so one thread runs at a time."""

    def __init__(self) -> None:
        self.now = BEGIN
        self._running = 0
        self._mutex = threading.Lock()
        self._sleepers: list[tuple[float, int, Waiter]] = []
        self._number = itertools.count()

    def start(self, run: Callable[[], None]) -> threading.Thread:
        """Begin a thread that lives in this time."""

        def lived() -> None:
            try:
                run()
            finally:
                with self._mutex:
                    self._rest()

        with self._mutex:
            self._running += 1
        thread = threading.Thread(target=lived)
        thread.start()
        return thread

    def start_all(self, runs: Iterable[Callable[[], None]]) -> None:
        """Begin threads at one time, and wait for their end: time stands still until all of them live."""
        with self._mutex:
            self._running += 1
        threads = [self.start(run) for run in runs]
        with self._mutex:
            self._rest()
        for thread in threads:
            thread.join()

    def wait(self, seconds: float | None, waiter: Waiter) -> None:
        """Until `seconds` are over, or somebody wakes the waiter."""
        with self._mutex:
            if waiter.done:
                return
            waiter.waits = True
            if seconds is not None:
                heapq.heappush(self._sleepers, (self.now + max(seconds, 0.0), next(self._number), waiter))
            self._rest()
        waiter.woken.wait()

    def sleep(self, seconds: float) -> None:
        self.wait(seconds, Waiter())

    def wake(self, waiter: Waiter) -> None:
        with self._mutex:
            self._wake(waiter)

    def _wake(self, waiter: Waiter) -> None:
        if not waiter.done:
            waiter.done = True
            self._running += waiter.waits
            waiter.woken.set()

    def _rest(self) -> None:
        """One thread less runs."""
        self._running -= 1
        while self._running == 0 and self._sleepers:
            when, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done:
                self.now = max(self.now, when)
                self._wake(waiter)


class Senders(Executor):
    """Threads of virtual time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **named))
            except BaseException as error:  # noqa: BLE001 - the future carries it
                future.set_exception(error)

        self._clock.start(run)
        return future


class Happenings:
    """delivery.events in virtual time: a sender that finished wakes the runner."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiter = Waiter()
        self._told: set[str] = set()

    def tell(self, queue_id: str) -> None:
        """A message was submitted."""
        self._told.add(queue_id)
        self.notify()

    def news(self) -> tuple[bool, set[str]]:
        told, self._told = self._told, set()
        return False, told

    def urged(self) -> bool:
        return False

    def notify(self) -> None:
        self._clock.wake(self._waiter)

    def wait(self, seconds: float | None) -> None:
        self._clock.wait(seconds, self._waiter)
        self._waiter = Waiter()


class NodeThrottle(Throttle):
    """graph.throttle in virtual time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=lambda: clock.now)
        self._time = clock
        self._free = AT_ONCE
        self._waiting: deque[Waiter] = deque()

    @contextmanager
    def place(self) -> Iterator[None]:
        while self._free == 0:
            waiter = Waiter()
            self._waiting.append(waiter)
            self._time.wait(None, waiter)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
            if self._waiting:
                self._time.wake(self._waiting.popleft())

    def sleep(self, seconds: float) -> None:
        self._time.sleep(max(seconds, self.remaining()))


class Mailbox:
    """The limits of one app and mailbox. `down` until so many seconds after the beginning: every request is refused, with 503."""

    def __init__(self, clock: Clock, retry_after: str = "", *, down: float = 0.0, uncertain: bool = False) -> None:
        self._clock = clock
        self._retry_after = {"Retry-After": retry_after} if retry_after else {}
        self._until = BEGIN + down
        self._failure = (500, "") if uncertain else (503, "ErrorServerBusy")
        self._on_the_way = 0
        self._window: deque[float] = deque()
        self.requests = self.refused = 0
        self.taken: Counter[str] = Counter()
        self.messages: list[dict[str, Any]] = []
        self.took: list[float] = []
        self.outbox = Outbox()
        self.last = BEGIN

    def request(self, _method: str, _url: str, *, content: bytes | None = None, **_: object) -> Answer:
        now = self._clock.now
        self.requests += 1
        while self._window and self._window[0] <= now - WINDOW:
            self._window.popleft()
        self._window.append(now)
        if now < self._until:
            self._clock.sleep(LATENCY)
            return self._refusal(*self._failure)
        if len(self._window) > REQUESTS or self._on_the_way >= AT_ONCE:
            return self._refusal(429, "ApplicationThrottled")
        self._on_the_way += 1
        self._clock.sleep(LATENCY)
        self._on_the_way -= 1
        message = json.loads(content or b"")["message"]
        self.taken[message["subject"]] += 1
        self.messages.append(message)
        self.took.append(self._clock.now)
        kinds = ("toRecipients", "ccRecipients", "bccRecipients")
        self.outbox.take(message["subject"], sum(len(message.get(kind, ())) for kind in kinds), self._clock.now)
        self.last = self._clock.now
        return Answer(202, httpx.Headers(), b"")

    def _refusal(self, status: int, code: str) -> Answer:
        self.refused += 1
        body = json.dumps({"error": {"code": code, "message": "no"}}).encode() if code else b"<html>no</html>"
        return Answer(status, httpx.Headers(self._retry_after), body)


class Tokens:
    """Access tokens without Entra."""

    def get(self) -> Token:
        return Token("t", BEGIN * 2)

    def forget(self, _token: Token) -> None: ...

    def forget_refusal(self) -> None: ...


@dataclass(frozen=True)
class Scenario:
    name: str
    nodes: int
    mails: int = 1
    retry_after: str = ""
    down: float = 0.0
    uncertain: bool = False
    within: float = 2.0
    """Seconds over which the nodes begin."""


@dataclass(frozen=True)
class Found:
    seconds: float
    limit: float
    refused: float
    requests: int
    lost: int
    twice: int


def play(scenario: Scenario, folder: Path) -> Found:
    """One scenario to its end."""
    clock, chance = Clock(), random.Random(7)
    mailbox = Mailbox(clock, scenario.retry_after, down=scenario.down, uncertain=scenario.uncertain)
    subjects = []
    threads = []
    for number in range(scenario.nodes):
        spool = Spool(str(folder / str(number)))
        spool.create()
        for mail in range(scenario.mails):
            subjects.append(f"node {number} mail {mail}")
            incoming = spool.accept(Envelope(sender="root", recipients=("a@example.com",), uid=0, arrived=BEGIN).encode())
            incoming.write(f"Subject: {subjects[-1]}\n\nx\n".encode())
            incoming.commit()
        threads.append((node(spool, clock, mailbox, chance), chance.random() * scenario.within))
    clock.start_all(partial(after, clock, wait, run) for run, wait in threads)
    count = len(subjects)
    limit = scenario.down + count * LATENCY / AT_ONCE
    return Found(
        mailbox.last - BEGIN, limit, mailbox.refused / count, mailbox.requests,
        lost=sum(mailbox.taken[subject] == 0 for subject in subjects), twice=sum(taken > 1 for taken in mailbox.taken.values()),
    )  # fmt: skip


def after(clock: Clock, seconds: float, run: Callable[[], None]) -> None:
    """Begin later."""
    clock.sleep(seconds)
    run()


def submit(spool: Spool, when: float, content: bytes, *, uid: int = 0, body: str = "") -> str:
    """A message in the queue as if it had been submitted then; its queue ID."""
    submit.number += 1  # type: ignore[attr-defined]
    moment = int(when * 1e6) - submit.number % 1000  # type: ignore[attr-defined]  # no two come in the same microsecond
    queue_id = f"{moment:013X}{submit.number % 0xFFFFF:05X}"  # type: ignore[attr-defined]
    line = Envelope(sender="root", recipients=("a@example.com",), uid=uid, arrived=when, body=body).encode()
    path = Path(spool.queue) / queue_id
    path.write_bytes(line + content)
    os.utime(path, (0, 0))
    return queue_id


submit.number = 0  # type: ignore[attr-defined]


def node(
    spool: Spool, clock: Clock, mailbox: Mailbox, chance: random.Random, policy: Policy = ANY_PACE, happenings: Happenings | None = None,
    idle: float = 1.0,
) -> Callable[[], None]:  # fmt: skip
    """One node's queue runner, from its start until its queue is empty."""
    graph = Graph(cast(Wire, mailbox), cast(TokenCache, Tokens()), "https://graph", NodeThrottle(clock), clock=lambda: clock.now)
    book = AddressBook(Host(name="pve", fqdn="pve.example.com", names=frozenset(["pve"])), Aliases({}), (), "pve@example.com")
    relay = Relay(SendingMailbox(graph, "pve@example.com", Permissions(None, "")), "pve@example.com", book, policy=policy)
    world = Surroundings(
        clock=lambda: clock.now, monotonic=lambda: clock.now, rng=chance.random, senders=lambda _: Senders(clock)
    )
    configuration = Configuration(lambda: (relay, 432_000.0, lambda: None), dict)
    runner = Runner(spool, configuration, cast(Events, happenings or Happenings(clock)), threading.Event(), world)
    return lambda: cast(None, runner.run(idle=idle))


@dataclass(frozen=True)
class Storm:
    """Nodes, so many to a mailbox; on each a cron job that fails every minute, and one fencing alarm."""

    nodes: int
    to_a_mailbox: int
    minutes: int = 40
    within: float = 600.0
    """Seconds over which the storms begin."""


@dataclass(frozen=True)
class Waited:
    """Seconds from an alarm's submission to the inbox, at the 99th percentile; what arrived; what was lost or came twice."""

    p99: float
    mails: int
    lost: int
    twice: int


def play_storm(storm: Storm, folder: Path) -> Waited:
    """To the end of the storms."""
    clock, chance = Clock(), random.Random(7)
    mailboxes = [Mailbox(clock) for _ in range(0, storm.nodes, storm.to_a_mailbox)]
    policy = Policy(rate=RATE, daily=DAILY, user_daily=500, digest=DigestRule())
    plan: list[tuple[float, int, bytes]] = []
    alarms: dict[str, float] = {}
    runs, hosts = [], []
    for number in range(storm.nodes):
        spool = Spool(str(folder / str(number)))
        spool.create()
        happenings = Happenings(clock)
        hosts.append((spool, happenings))
        runs.append(node(spool, clock, mailboxes[number // storm.to_a_mailbox], chance, policy, happenings, 1800.0))
        begin = chance.random() * storm.within
        plan += [
            (begin + 60 * minute, number, b"Subject: Cron <root@pve%d> job\n\n%d\n" % (number, minute))
            for minute in range(storm.minutes)
        ]
        when = begin + chance.random() * 60 * storm.minutes
        alarms[f"FENCE from pve{number}"] = when
        plan.append((when, number, b"Subject: FENCE from pve%d\nImportance: high\n\nx\n" % number))

    def submitter() -> None:
        for when, number, content in sorted(plan):
            clock.sleep(BEGIN + when - clock.now)
            spool, happenings = hosts[number]
            happenings.tell(submit(spool, clock.now, content))

    clock.start_all([*runs, submitter])
    there = [one for mailbox in mailboxes for one in mailbox.outbox.inbox]
    waited = sorted(when - BEGIN - alarms[subject] for subject, when in there if subject in alarms)
    said = [int(match) for mailbox in mailboxes for message in mailbox.messages for match in _gathered(message["subject"])]
    alone = sum(message["subject"].startswith("Cron") for mailbox in mailboxes for message in mailbox.messages)
    return Waited(
        waited[int(len(waited) * 0.99) - 1] if waited else float("inf"), len(there),
        lost=storm.nodes - len(waited) + max(storm.nodes * storm.minutes - sum(said) - alone, 0),
        twice=max(len(waited) - storm.nodes, 0) + max(sum(said) + alone - storm.nodes * storm.minutes, 0),
    )  # fmt: skip


def _gathered(subject: str) -> list[str]:
    return re.findall(r"^\[(\d+) more\]", subject)


STORMS = [Storm(100, 10), Storm(1000, 20), Storm(100, 100)]
P99 = 120.0  # seconds within which an alarm is to be in the inbox, of 20 nodes to a mailbox at most
SCENARIOS = [
    Scenario("one mail each", 10),
    Scenario("one mail each", 100),
    Scenario("one mail each", 1000),
    Scenario("one mail each, Retry-After: 1", 1000, retry_after="1"),
    Scenario("one mail each, Retry-After: 10", 1000, retry_after="10"),
    Scenario("one hundred mails each", 10, mails=100),
    Scenario("one mail each, Graph down for 10 minutes", 1000, down=600.0),
    Scenario("2,000 mails, Graph answers 500 for 6 minutes", 1, mails=2000, down=360.0, uncertain=True),
]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--at-most", type=int, default=1000, metavar="NODES", help="leave larger fleets out")
    at_most = arguments.parse_args().at_most
    threading.stack_size(256 << 10)
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    os.environ["PROXMOX_GRAPH_MAIL_SYSLOG"] = "/nowhere"
    good = True
    print(f"{'nodes':>5}  {'scenario':<46} {'last mail':>10} {'x limit':>8} {'refused/mail':>13} {'requests':>9}  lost twice")
    for scenario in SCENARIOS:
        if scenario.nodes > at_most:
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            found = play(scenario, Path(folder))
        ratio = found.seconds / found.limit
        print(
            f"{scenario.nodes:>5}  {scenario.name:<46} {found.seconds:>8.0f} s {ratio:>8.2f} {found.refused:>13.1f} "
            f"{found.requests:>9}  {found.lost:>4} {found.twice:>5}   ({time.monotonic() - begun:.0f} s)",
            flush=True,
        )
        good = good and found.lost == found.twice == 0
        if scenario.nodes == 1000 and not scenario.down and (ratio > LIMIT_RATIO or found.refused > LIMIT_REFUSED):
            print("       OVER the limit")
    print(
        f"limits for 1,000 nodes: {LIMIT_RATIO:.0f} times the limit's time, {LIMIT_REFUSED:.0f} refusals a mail; lost, twice: 0"
    )
    return 0 if play_storms(at_most) and good else 1


def play_storms(at_most: int) -> bool:
    """Print what becomes of alarms while every node has a storm; is nothing lost, and no alarm late where it need not be?"""
    good = True
    print(
        f"\na cron job that fails every minute, and one alarm, on each node\n{'nodes':>5}  to a mailbox  mails for alarm's way  lost twice"
    )
    for storm in STORMS:
        if storm.nodes > at_most:
            continue
        memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            waited = play_storm(storm, Path(folder))
        print(
            f"{storm.nodes:>5} {storm.to_a_mailbox:>13} {waited.mails:>6} {storm.nodes * storm.minutes:>6} "
            f"{waited.p99:>6.0f} s {waited.lost:>5} {waited.twice:>5}", flush=True,
        )  # fmt: skip
        late = storm.to_a_mailbox <= 20 and waited.p99 > P99
        if late:
            print("       OVER the limit")
        good = good and not late and waited.lost == waited.twice == 0
    print(f"limit up to 20 nodes to a mailbox: an alarm's way to the inbox {P99:.0f} s (p99); lost, twice: 0")
    return good


if __name__ == "__main__":
    sys.exit(main())
