"""Run a program and kill it (SIGKILL) at its N-th system call of those that change something.

`python … killer.py N MAIN ARGV…`: N counts calls of os.open, write, fsync, rename, link, unlink, utime, chmod, chown and
close; the kill comes before the N-th. With N = 0 nothing is killed and the calls are written to standard error, in order.
Used with `-IS` for sendmail, so it imports little.
"""

import os
import posix
import sys
from _frozen_importlib_external import SourceFileLoader

CALLS = ("open", "write", "fsync", "rename", "unlink", "utime", "fchmod", "fchown", "close", "mkdir")


def arm(fatal: int) -> None:
    """Count the calls from here on; those of the program, not of the import system, which keeps bytecode where it is missing."""
    SourceFileLoader.set_data = lambda *_, **__: None  # type: ignore[method-assign]
    made: list[str] = []

    def counted(name: str, real: object) -> object:
        def call(*arguments: object, **options: object) -> object:
            made.append(name)
            if len(made) == fatal:
                os.kill(os.getpid(), 9)
            return real(*arguments, **options)  # type: ignore[operator]

        return call

    write, leave = os.write, os._exit
    for name in CALLS:
        call = counted(name, getattr(os, name))
        for module in (os, posix):  # the fast path has its calls from the latter
            setattr(module, name, call)

    def report(status: int) -> None:
        if fatal == 0:
            write(2, f"calls={','.join(made)}\n".encode())
        leave(status)

    os._exit = posix._exit = report  # type: ignore[assignment]


if __name__ == "__main__":
    fatal, program = int(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    with open(program) as file:
        code = compile(file.read(), program, "exec")
    __file__ = program
    arm(fatal)
    exec(code)
