"""The HTML page of a plain-text mail."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.graph import page


def read_back(page: str) -> str:
    """The text a browser shows in the <pre>."""
    inner = re.search(r"<pre[^>]*>(.*)</pre>", page, re.DOTALL)
    assert inner
    text = inner[1].removeprefix("\n")  # HTML drops a line end right behind <pre>
    return html.unescape(re.sub(r"</?a[^>]*>", "", text))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n <>&\"'"), max_size=200))
def test_what_is_shown_is_what_was_written(text: str) -> None:
    """Escaped, whitespace kept, nothing added, nothing lost."""
    assert read_back(page.text_page(text)) == page.legal(text)


@given(st.text(max_size=100))
def test_no_markup_comes_out_of_a_text(text: str) -> None:
    """The only tags are our own."""
    inner = page.block(text)
    assert set(re.findall(r"<(/?\w+)", inner)) <= {"pre", "/pre", "a", "/a", "hr"}


def test_links_live_and_end_where_the_sentence_goes_on() -> None:
    """Punctuation around a URL is not part of it; its ampersands are escaped."""
    block = page.block("see <https://pve1:8006/#v1:0=x>, (http://x.example/a_(b)) or https://y.example/?a=1&b=2.")
    assert re.findall(r'href="([^"]*)"', block) == [
        "https://pve1:8006/#v1:0=x", "http://x.example/a_(b", "https://y.example/?a=1&amp;b=2",
    ]  # fmt: skip
    assert page.block('javascript:alert(1) data:text/html,x "https://').count("<a ") == 0


def test_terminal_escapes_and_control_characters_are_not_shown() -> None:
    """Colours of a program that thought it wrote to a terminal."""
    assert read_back(page.text_page("\x1b[1;31mred\x1b[0m \x1b]0;title\x07ok\x08\x00\x0c")) == "red ok"


def test_tabs_become_the_columns_a_terminal_shows() -> None:
    """Every eight."""
    assert read_back(page.text_page("a\tb\n\tc\n12345678\td\n")) == "a       b\n        c\n12345678        d\n"


def test_fragments_go_inside_the_body() -> None:
    """Behind <body …>, before the last </body>; around a page that has neither."""
    assert page.prepend("<html><BODY class=x>a</BODY></html>", "N") == "<html><BODY class=x>Na</BODY></html>"
    assert page.append("<body>a</body></html>", "N") == "<body>aN</body></html>"
    assert page.prepend("a", "N") == "Na"
    assert page.append("a", "N") == "aN"
