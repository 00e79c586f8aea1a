"""Which lines of a text are a table's: lines that say nothing any more once they are folded.

Box characters make one, as do neighbouring lines with two or more inner runs of blanks, and those beside them that have one or
are no wider. Two blanks behind the end of a sentence are a typist's.
"""

import re
from collections.abc import Sequence

PROSE, TABLE, RULE = "prose", "table", "rule"
WIDEST = 240  # characters of a table's line; a page that is wider cannot be read anywhere
MOST = 200  # changes between prose and table in one text; what comes then is prose
_BOX = re.compile("[\u2500-\u257f]|^\\s*\\+[-=+]{3,}\\+\\s*$|^\\s*\\|.*\\|\\s*$")
_RUN = re.compile(r"(?<=[^\s.!?:;,]) {2,}(?=\S)|(?<=[.!?:;,]) {3,}(?=\S)")


def kinds(lines: Sequence[str]) -> list[str]:
    """For each line PROSE, TABLE or RULE (a form feed and nothing else). Blank lines go with what follows them, the last ones
    with what they follow."""
    runs = [len(_RUN.findall(line)) if len(line) <= WIDEST else 0 for line in lines]
    table = [len(line) <= WIDEST and bool(_BOX.search(line)) for line in lines]
    for at in range(len(lines) - 1):
        if runs[at] >= 2 and runs[at + 1] >= 2:
            table[at] = table[at + 1] = True
    for order in (range(1, len(lines)), range(len(lines) - 2, -1, -1)):
        step = 1 if order.step > 0 else -1
        for at in order:
            table[at] = table[at] or (table[at - step] and (runs[at] > 0 or _beside(lines[at], lines[at - step])))
    for at in range(1, len(lines) - 1):
        if table[at - 1] and table[at + 1] and lines[at].strip():
            table[at] = table[at] or len(lines[at]) <= max(len(lines[at - 1]), len(lines[at + 1]))
    return _settled(
        [RULE if line == "\f" else TABLE if is_table else PROSE for line, is_table in zip(lines, table, strict=True)], lines
    )


def _beside(line: str, neighbour: str) -> bool:
    """Is it set in like a row, and no wider than the row beside it?"""
    return line.startswith("  ") and bool(line.strip()) and len(line) <= len(neighbour)


def _settled(found: list[str], lines: Sequence[str]) -> list[str]:
    """Blank lines with what follows them, and no more changes than MOST."""
    written = next((at for at in range(len(lines) - 1, -1, -1) if lines[at].strip(" ")), 0)
    found[written:] = [found[written]] * (len(found) - written)
    for at in range(written - 1, -1, -1):
        if not lines[at].strip(" ") and found[at + 1] != RULE:
            found[at] = found[at + 1]
    changes = 0
    for at in range(1, len(found)):
        changes += found[at] != found[at - 1] or found[at] == RULE
        if changes > MOST:
            found[at] = PROSE
    return found
