"""What stands before the first boundary of a multipart, or behind its last, for programs that know no MIME (RFC 2046 5.1.1)."""

LONGEST = 2000  # characters of a text that may be one
_DOES_NOT = "your mail reader does not"
_SENTENCES = (
    f"this message is in mime format. since {_DOES_NOT} understand this format, some or all of this message may not be legible.",
    "this message is in mime format. the first part should be readable text, while the remaining parts are likely unreadable "
    "without mime-aware tools.",
    "this is a cryptographically signed message in mime format.",
    "this is an openpgp/mime encrypted message (rfc 4880 and 3156)",
    "this is an openpgp/mime encrypted message (rfc 2440 and 3156)",
    "this is an openpgp/mime signed message (rfc 4880 and 3156)",
    "this is an openpgp/mime signed message (rfc 2440 and 3156)",
    "this is an s/mime signed message", "this is an s/mime encrypted message",
    "this is a mime encapsulated multipart message",
    "this is a multi-part message in mime format", "this is a multipart message in mime format",
    "this is a multi-part mime message", "this is a multipart mime message",
    "this is a mime-encapsulated message", "this is a mime-formatted message", "this is a mime-encoded message",
    "this is a mime message", "this message is in mime format",
    f"if you can read this, {_DOES_NOT} support mime", f"if you are reading this, {_DOES_NOT} support mime",
)  # fmt: skip
"""Whole sentences that mail programs write, in lower case; what only resembles them may be the report itself."""


def is_preamble(text: str) -> bool:
    """Is it for programs that know no MIME, and nothing else?"""
    if len(text) > LONGEST:
        return False
    rest = " ".join(text.lower().split())
    for sentence in _SENTENCES:
        rest = rest.replace(sentence, "")
    return not rest.strip(" .-=_*")
