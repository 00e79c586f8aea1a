"""What a person reads: on a terminal broken at words to its width, with the rest below the beginning; elsewhere one line each.

A name (an address, a queue ID, a path) is never broken: whoever copies it gets it whole.
"""

import shutil
import sys
import textwrap
import time
from typing import TextIO

from proxmox_graph_mail.log import printable

NARROWEST = 40  # columns below which nothing is broken


def put(text: str, *, begin: str = "", hang: int | None = None, stream: TextIO | None = None) -> None:
    """Print `begin` and the text, safe for a terminal; what does not fit goes on in the next line, `hang` columns in (by default
    below the text)."""
    print(folded(printable(text), begin=begin, hang=hang, stream=stream), file=stream)


def folded(text: str, *, begin: str = "", hang: int | None = None, stream: TextIO | None = None) -> str:
    """The same as a string, for `stream` (by default standard output)."""
    width = shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else 0
    if width < NARROWEST:
        return begin + text
    indent = " " * (len(begin) if hang is None else hang)
    return textwrap.fill(
        text, width, initial_indent=begin, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
        replace_whitespace=False,
    )  # fmt: skip


def local(seconds: float) -> str:
    """A time as this host has it, with its zone: `2026-11-26 07:00:03 CET`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))
