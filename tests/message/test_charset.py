"""Declared charset, else UTF-8, else Latin-1; encoded words in every broken form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxmox_graph_mail.message.charset import codec, decode, words


@pytest.mark.parametrize(
    ("content", "declared", "text"),
    [
        ("ü".encode(), "utf-8", "ü"), ("ü".encode(), "us-ascii", "ü"), ("ü".encode(), "ANSI_X3.4-1968", "ü"), ("ü".encode(), None, "ü"),
        ("ü".encode("latin-1"), None, "ü"), ("ü".encode("latin-1"), "utf-8", "ü"), ("ü".encode("latin-1"), "iso-8859-1", "ü"),
        ("“ü”".encode("cp1252"), None, "“ü”"), (b"\x81\xfc", None, "\x81ü"), ("漢字".encode("gb18030"), "GB18030", "漢字"),
        ("漢字".encode("iso2022_jp"), "ISO-2022-JP", "漢字"), ("ü".encode("utf-16"), "utf-16", "ü"), (b"abc", "x-klingon", "abc"),
        ("ü".encode(), "x-klingon", "ü"), (b"abc", "idna", "abc"), (b"abc", "hex", "abc"), (b"abc", "a\0b", "abc"), (b"abc", "", "abc"),
        (b"\xef\xbb\xbfabc", "utf-8", "abc"),
        ("grüße".encode(), "iso-8859-1", "grüße"), ("„ü“ €".encode(), "windows-1252", "„ü“ €"), ("Ãü".encode("latin-1"), "iso-8859-1", "Ãü"),
    ],
)  # fmt: skip
def test_the_text_is_what_was_meant(content: bytes, declared: str | None, text: str) -> None:
    """No replacement character where a decoding exists."""
    assert decode(content, declared)[0] == text


@given(st.binary(max_size=60), st.none() | st.text(max_size=12) | st.sampled_from(["utf-8", "utf-16", "ascii", "utf-7", "cp037"]))
def test_anything_decodes_without_replacement_characters(content: bytes, declared: str | None) -> None:
    """…unless the bytes themselves say U+FFFD, or the declared charset does."""
    text, _ = decode(content, declared)
    if declared is None and b"\xef\xbf\xbd" not in content:
        assert "\ufffd" not in text


@pytest.mark.parametrize(
    "name", ["undefined", "unicode_escape", "raw_unicode_escape", "punycode", "idna", "rot13", "zlib", "base64"]
)
def test_codecs_that_are_no_charsets(name: str) -> None:
    """Python knows them; no mail means them."""
    assert codec(name) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"), ("=?utf-8?B?w7w=?=", "ü"), ("=?utf-8?q?=C3=BC_x?=", "ü x"), ("=?UTF-8?B?w7w?=", "ü"),
        ("=?iso-8859-1?Q?=FC?=", "ü"), ("=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "ü"), ("=?utf-8?Q?a?= b =?utf-8?Q?c?=", "a b c"),
        ("=?utf-8?Q?a?=\n =?iso-8859-1?Q?=FC?=", "aü"), ("=?x-none?Q?=C3=BC?=", "ü"), ("=?utf-8*de?Q?=C3=BC?=", "ü"),
        ("=?utf-8?Q?a b?=", "a b"), ("=?utf-8?X?abc?=", "=?utf-8?X?abc?="), ("=?utf-8?Q?never", "=?utf-8?Q?never"),
        ("=?utf-8?B?****?=", ""), ("pre=?utf-8?Q?x?=post", "prexpost"), ("=?utf-8?Q?=zz?=", "=zz"), ("=?=?=", "=?=?="),
    ],
)  # fmt: skip
def test_encoded_words(value: str, text: str) -> None:
    """RFC 2047, and each known way to break it."""
    assert words(value) == text


@given(st.text(alphabet="=?utf-8QB_c3 x*\u00fc", max_size=60))
def test_any_value_is_decoded(value: str) -> None:
    """Nothing raises."""
    words(value)
