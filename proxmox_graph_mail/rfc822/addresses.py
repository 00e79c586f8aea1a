"""RFC 5322 address lists, as people and programs really write them.

One small scanner serves both ends: `sendmail` reads the recipients of argv and of `-t` with it, and the queue
runner the headers, so that both find the same addresses. It never refuses: what is not an address comes back as it
stands, for the delivery to judge. It uses no regular expression and no `email` package, which the fast path
cannot afford.

Understood (RFC 5322 3.4, 4.4, and what sendmail, Postfix and exim take besides): `a@x`, `Name <a@x>`,
`"Name, F." <a@x>`, `a@x (Name)`, nested comments, groups `team: a, b;`, the source route of `<@r:a@x>`, commas
and semicolons as separators.
"""

WORD_LIMIT = 2000  # characters of an encoded word at most; RFC 2047 allows 75, real senders do not care


def mailboxes(text: str) -> list[tuple[str, str]]:
    """The mailboxes of an address list, each as (display name, address).

    The display name is the phrase before `<…>`, else the first comment, with its quotes taken off and encoded
    words left as they are. An item without any address gives its bare text as the address.
    """
    return [mailbox for item in _split(text) if (mailbox := _mailbox(item)) is not None]


def addresses(text: str) -> list[str]:
    """The addresses of one argv operand or `-f` argument, in order.

    Blanks separate too, where no `<…>`, quote or comment is about, as sendmail, Postfix and nullmailer have it.
    """
    listed: list[str] = []
    for item in _split(text):
        phrase, angle, _ = _lex(item)
        if angle is None and '"' not in phrase:
            listed += phrase.split()
        elif (mailbox := _mailbox(item)) is not None and mailbox[1]:
            listed.append(mailbox[1])
    return listed


def is_recipient(text: str) -> bool:
    """Could this be a recipient: a local name, or local@domain within the bounds of RFC 5321 (4.5.3.1) and RFC 1035 (2.3.1)?
    Delivery judges the rest."""
    local, at, domain = text.rpartition("@")
    if any(c.isspace() or c < " " or c == "\x7f" for c in text):
        return False
    if not at:
        return bool(text)
    labels = domain.split(".")
    return (
        0 < len(local) <= 64
        and len(text) <= 320
        and all(0 < len(label) <= 63 and not label.endswith("-") for label in labels)
        and (len(labels) == 1 or not labels[-1].isdecimal())
        and not (local.startswith(".") or local.endswith(".") or ".." in local)
    )


def _split(text: str) -> list[str]:
    """Cut at commas and semicolons outside quotes, comments and angles; drop the names of groups."""
    items: list[str] = []
    start = depth = at = 0
    quoted = angle = literal = False  # literal: an address has begun, a colon no longer ends a group's name
    while at < len(text):
        c = text[at]
        if c == "\\" and (quoted or depth):
            at += 1
        elif c == "=" and (word := _encoded_word(text, at)):
            at += len(word) - 1
        elif quoted:
            quoted = c != '"'
        elif depth:
            depth += (c == "(") - (c == ")")
        elif c in '"(<>':
            quoted, depth, angle = c == '"', int(c == "("), c == "<" or (angle and c != ">")
        elif not angle:
            if c in ",;":
                items.append(text[start:at])
                start, literal = at + 1, False
            elif c == ":" and not literal:
                start = at + 1
            literal = literal or c in "@["
        at += 1
    if quoted or depth or angle:  # something never closes and would swallow all who come after it
        return text.replace(";", ",").split(",")
    items.append(text[start:])
    return items


def _encoded_word(text: str, at: int) -> str:
    """The RFC 2047 encoded word that begins here, if one does: a separator in it separates nothing."""
    if text[at + 1 : at + 2] != "?":
        return ""
    end = at + WORD_LIMIT
    charset = text.find("?", at + 2, end)
    encoding = text.find("?", charset + 1, end) if charset > 0 else -1
    close = text.find("?=", encoding + 1, end) if encoding > 0 else -1
    return text[at : close + 2] if close > 0 and encoding == charset + 2 else ""


def _mailbox(item: str) -> tuple[str, str] | None:
    phrase, angle, comment = _lex(item)
    name = " ".join(phrase.split())
    if angle is not None:
        if angle.startswith("@") and ":" in angle:  # a source route, RFC 5322 4.4: to be ignored
            angle = angle.rpartition(":")[2]
        name = name.replace('"', "") if name.startswith('"') else name
        return f"{name} ({comment})" if name and comment else name or comment, angle
    if not name:
        return None
    return comment, name


def _lex(item: str) -> tuple[str, str | None, str]:
    """Take one mailbox apart: (words outside, text within `<…>` or None, the first comment)."""
    phrase: list[str] = []
    angle: list[str] | None = None
    comments: list[str] = []
    depth = at = 0
    quoted = inside = False
    while at < len(item):
        c = item[at]
        into = comments if depth else angle if inside and angle is not None else phrase
        if c == "=" and (word := _encoded_word(item, at)):
            at += len(word) - 1
            into.append(word)
        elif c == "\\" and (quoted or depth) and at + 1 < len(item):
            at += 1
            into.append(item[at] if depth or not inside else c + item[at])
        elif quoted:
            quoted = c != '"'
            into.append(c)
        elif depth:
            depth += (c == "(") - (c == ")")
            into.append(c if depth else "\0")
        elif c == "(":
            depth = 1
        elif c == '"':
            quoted = True
            into.append(c)
        elif c == "<" and angle is None:
            angle, inside = [], True
        elif c == ">" and inside:
            inside = False
        else:
            into.append(c)
        at += 1
    if quoted or depth:
        return _lex("".join([" " if c in '"()' else c for c in item]))
    comment = " ".join("".join(comments).partition("\0")[0].split())
    return "".join(phrase), None if angle is None else "".join(angle).strip(), comment
