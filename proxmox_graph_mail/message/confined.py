"""Taking a message apart where it can do no harm: what is not small, in a process of its own with limits (setrlimit(2)).

bounds.py measures what is known to be dear; this catches what is not: SECONDS of processor time, and TIMES the message's size
and SPACE of memory. What exceeds them is outlined, as by bounds.py. So the queue runner neither waits for its parser nor dies of
it, and no other mail's sender shares the interpreter with it.

Raises ConfinedError (temporary) if the process could not do its work for a reason that is not the message's.
"""

import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path

from proxmox_graph_mail.errors import ConfinedError
from proxmox_graph_mail.message.mail import Mail
from proxmox_graph_mail.message.parse import outline, parse

SMALL = 256 << 10  # bytes of a message that is taken apart here: within bounds.py's limits it takes a second at most
SECONDS = 10  # of processor time
TIMES, SPACE = 5, 80 << 20  # bytes of address space: so many for each of the message's, and so many besides
PATIENCE = 300.0  # seconds by the clock, on a host that is busy otherwise
NO_MEMORY = 3  # the process's exit status
_HOUSE = str(Path(__file__).parents[2])
_PROGRAM = f"import sys; sys.path.insert(0, {_HOUSE!r}); from proxmox_graph_mail.message.confined import main; main()"


def taken_apart(data: bytes) -> Mail:
    """What a message says."""
    if len(data) <= SMALL:
        return parse(data)
    command = [sys.executable, "-I", "-c", _PROGRAM]
    try:
        done = subprocess.run(  # noqa: S603 - this very Python
            command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return outline(data, "parsing it takes too long")
    except OSError as error:
        raise ConfinedError(f"cannot start a process to parse the message: {error.strerror}") from error
    if done.returncode == 0:
        mail: Mail = pickle.loads(done.stdout)  # noqa: S301 - our own process's word
        return mail
    if done.returncode == -signal.SIGXCPU:
        return outline(data, "parsing it takes too long")
    if done.returncode in (NO_MEMORY, -signal.SIGKILL):  # SIGKILL: the kernel's, where the whole unit's memory is used up
        return outline(data, "parsing it takes too much memory")
    raise ConfinedError(f"the process that parses the message ended with status {done.returncode}")


def main() -> None:
    """The process: a message comes by standard input, the Mail leaves by standard output."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the queue runner finishes what it has in hand
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = sys.stdin.buffer.read()
    space = TIMES * len(data) + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # rather this one than the queue runner
    except OSError:
        pass  # then the kernel chooses by size
    try:
        pickle.dump(parse(data), sys.stdout.buffer, protocol=5)
    except MemoryError:
        sys.exit(NO_MEMORY)
