"""A plain-text mail's HTML page: the same lines in monospaced blocks.

Outlook shows plain text in a proportional font and drops "extra" line breaks, which ruins every table a host program writes. A
<pre> keeps lines and blanks in Outlook's Word engine as in browsers. Prose wraps (`pre-wrap`), so that a phone shows it in full.
A table's lines must not: they stand in a <pre> of their own (tables.py), without `white-space`, whose value `pre` Outlook
for iOS, Android and the web drop, and without `overflow` on a phone, where Outlook for Android could not scroll it; a client
zooms out what is wide. No colours are set, so dark mode works. Tabs become blanks, for clients disagree on where they stop.
"""

import html
import re
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

from proxmox_graph_mail.graph.tables import PROSE, RULE, kinds

_KIND = itemgetter(0)
_FONT = "font-family:Consolas,'DejaVu Sans Mono',Menlo,'Courier New',monospace;font-size:10pt;"
STYLE = f"{_FONT}white-space:pre-wrap;word-wrap:break-word;margin:0"
_TABLE = ' class="host-table"'
TABLE_STYLE = f"{_FONT}margin:0"

HEAD = (
    '<meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
    "<style>@media (max-width:600px){pre.host-table{font-size:7pt!important}}"
    "@media (min-width:601px){pre.host-table{overflow-x:auto;padding-bottom:3px!important;margin-bottom:-3px!important}}</style>"
)
"""Shown in the reader's own colours, and a phone's screen is as wide as it is. Word's engine ignores the rules for screens. What
scrolls is cut at its lower edge, where the last line's underscores are: hence the padding."""

# What a terminal would act upon instead of showing: colours and cursor movements (ECMA-48 CSI and OSC).
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\r\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# A link ends before blanks, brackets and the punctuation of the sentence around it.
_LINK = re.compile(r"https?://[^\s<>\"'`\x00-\x1f]*[^\s<>\"'`\x00-\x1f.,;:!?)\]}]")
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)
_BODY_BEGIN = re.compile(r"<body\b", re.IGNORECASE)


def text_page(text: str) -> str:
    """The whole page."""
    return f"<html><head>{HEAD}</head><body>{block(text)}</body></html>"


def block(text: str) -> str:
    """The text as <pre> elements, one for each stretch of prose and of table; a form feed is a rule."""
    lines: list[str] = []
    for piece in text.split("\f"):
        lines += [*(["\f"] if lines else []), *visible(piece).expandtabs(8).split("\n")]
    stretches = [(kind, [line for _, line in stretch]) for kind, stretch in groupby(zip(kinds(lines), lines, strict=True), _KIND)]
    made = [
        "<hr>" if kind == RULE else _pre(stretch, STYLE if kind == PROSE else TABLE_STYLE, table=kind != PROSE)
        for kind, stretch in stretches
        if len(stretches) == 1 or any(line.strip(" ") for line in stretch)
    ]
    return "".join(made)


def _pre(lines: list[str], style: str, *, table: bool) -> str:
    shown = _linked("\n".join(line for line in lines if line != "\f"))
    first = "\n" if shown.startswith("\n") else ""  # HTML drops a line end right behind <pre>
    return f'<pre{_TABLE if table else ""} style="{style}">{first}{shown}</pre>'


def with_texts(page: str, above: Iterable[str], below: Iterable[str]) -> str:
    """A page with the texts that stand beside it in the mail, each set off by a rule."""
    before = "".join(f"{block(text)}<hr>" for text in above if text.strip())
    after = "".join(f"<hr>{block(text)}" for text in below if text.strip())
    page = prepend(page, before) if before else page
    return append(page, after) if after else page


def note(text: str) -> str:
    """A paragraph of our own, set off from the mail's; its lines stay lines."""
    style = "font-family:sans-serif;font-size:9pt;border-left:3px solid #888;padding-left:6px"
    return f'<p style="{style}">{html.escape(text).replace(chr(10), "<br>")}</p>'


def prepend(page: str, fragment: str) -> str:
    """Put a fragment at the top of a page's body."""
    begin = _BODY_BEGIN.search(page)
    at = page.find(">", begin.end()) + 1 if begin else 0
    return page[:at] + fragment + page[at:]


def append(page: str, fragment: str) -> str:
    """Put a fragment at the end of a page's body."""
    ends = list(_BODY_END.finditer(page))
    at = ends[-1].start() if ends else len(page)
    return page[:at] + fragment + page[at:]


def visible(text: str) -> str:
    """The text without escape sequences and without characters that no document may hold."""
    return legal(_ESCAPES.sub("", text) if "\x1b" in text else text)


def legal(text: str) -> str:
    """The text without the characters that XML 1.0 (2.2), and so Exchange, has no place for."""
    return _ILLEGAL.sub("", text)


def _linked(text: str) -> str:
    out = []
    at = 0
    for match in _LINK.finditer(text):
        url = html.escape(match[0])
        out += [html.escape(text[at : match.start()], quote=False), f'<a href="{url}">{url}</a>']
        at = match.end()
    return "".join([*out, html.escape(text[at:], quote=False)])
