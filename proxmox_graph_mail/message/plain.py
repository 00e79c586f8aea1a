"""A plain text as a terminal, or a mail program, would show it: overstrikes, progress bars, flowed lines.

What is dropped is drawn over by the same or by a later state of itself; a word that would be lost stays. Linear in the text.
"""

import re
from collections.abc import Iterator

_WORDS = re.compile(r"[^\W\d_]{3,}")
_STEPS = re.compile(r"(\x08*)([^\x08]+)")


def as_shown(text: str) -> str:
    """Text without backspaces and carriage returns, by what they do; one that knows no other line end has its lines by them."""
    if "\r" in text and "\n" not in text:
        text = text.replace("\r", "\n")
    if "\r" in text or "\x08" in text:
        text = "\n".join(struck(last_state(line)) for line in text.split("\n"))
    return text


def last_state(line: str) -> str:
    """A line that was drawn again and again from its beginning: what stands there at last. A state that says a word which no
    later one says is a line of its own."""
    if "\r" not in line:
        return line
    kept: list[str] = []
    said: set[str] = set()
    for state in reversed(line.split("\r")):
        words = set(_WORDS.findall(state))
        if state.strip() and (not kept or not words <= said):
            kept.append(state)
            said |= words
    return "\n".join(reversed(kept))


def struck(line: str) -> str:
    """A line in which backspaces step back and draw over: bold (`N`, backspace, `N`), underlined (`_`, backspace, `N`), a
    counter. What would draw over other letters is written behind the line."""
    if "\x08" not in line:
        return line
    cells: list[str] = []
    at = 0
    for steps, letters in _STEPS.findall(line):
        at = max(0, at - len(steps))
        over = [_over(below, letter) for below, letter in zip(cells[at : at + len(letters)], letters, strict=False)]
        drawn = [seen for seen in over if seen is not None]
        if len(drawn) < len(over):
            at, drawn = len(cells), []
        cells[at : at + len(drawn)] = drawn
        cells += letters[len(drawn) :]
        at += len(letters)
    return "".join(cells)


def _over(below: str, letter: str) -> str | None:
    """What is seen of a letter that is drawn over another; None if that would hide it."""
    if letter == below or (letter in "_ " and below.isalpha()):
        return below
    return None if below.isalpha() else letter


def flowed(text: str, *, delete_space: bool) -> str:
    """Lines that end in a blank are joined with the next of the same quotation depth; `delete_space`: without that blank
    (RFC 3676 4.2 to 4.5)."""
    return "\n".join(_paragraphs(text.split("\n"), delete_space=delete_space))


def _paragraphs(lines: list[str], *, delete_space: bool) -> Iterator[str]:
    paragraph: list[str] = []
    depth = 0
    for line in lines:
        content = line.lstrip(">")
        quotes = len(line) - len(content)
        content = content.removeprefix(" ")
        signature = content == "-- "
        if paragraph and (quotes != depth or signature):
            yield _quoted(depth, paragraph)
            paragraph = []
        depth = quotes
        if content.endswith(" ") and not signature:
            paragraph.append(content[:-1] if delete_space else content)
        else:
            yield _quoted(depth, [*paragraph, content])
            paragraph = []
    if paragraph:
        yield _quoted(depth, paragraph)


def _quoted(depth: int, paragraph: list[str]) -> str:
    text = "".join(paragraph)
    return f"{'>' * depth} {text}" if depth else text
