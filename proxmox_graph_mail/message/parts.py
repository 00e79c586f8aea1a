"""A message's parts → its body, its attachments, and what had to be repaired in them.

Which part is the body: the first HTML, and the plain text that says the same; further plain-text parts without a file name stand
above it (an introduction) or below it (a footer), as in the message; every other leaf is an attachment, so that nothing a message
carries is dropped. An attached text is shown as well where there is nothing else to show. Texts beyond what a page can show are
attached: as bytes they take a quarter of what they would take as characters.
"""

import html
import mimetypes
import re
from dataclasses import replace
from urllib.parse import quote

from proxmox_graph_mail.message import charset
from proxmox_graph_mail.message.bounds import PARTS
from proxmox_graph_mail.message.content import Part, as_bytes, behind_base64, content_of
from proxmox_graph_mail.message.mail import Attachment
from proxmox_graph_mail.message.plain import as_shown, flowed
from proxmox_graph_mail.message.preamble import is_preamble

MAX_DEPTH = 50
PIECES = (TypeError, ValueError, LookupError, AttributeError)
"""What the standard library raises of a parameter in pieces (RFC 2231 3) that contradict one another."""
TEXTS = 6 << 20  # bytes of texts and pages together that are taken as text; a request to Graph takes 4 MB
SHOWN = 200_000  # bytes of the beginning, and of the end, of a text that is longer
NAME_LIMIT = 255  # bytes of a file name, as most file systems have it
_EMPTY_PAGE = re.compile(
    r"<(script|style|head|title)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>|&nbsp;|&#160;|&#xa0;", re.IGNORECASE | re.DOTALL
)
_META_CHARSET = re.compile(r"(<meta\b[^<>]{0,200}?\bcharset\s*=\s*[\"']?)(?!utf-8\b)[\w.:+-]{1,40}", re.IGNORECASE)
_SHOWS = re.compile(r"<(?:img|svg|video|object|embed|iframe|hr)\b|background", re.IGNORECASE)
_EMPTY_LIMIT = 20_000  # characters of a page that may be looked at for nothing; what is longer says something
_LOST_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:+-]+)", re.IGNORECASE)


class Contents:
    """What a walk through the parts gathers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.alternatives: list[str] = []  # texts that another part says again as HTML
        self.htmls: list[str] = []
        self.before = 0  # how many of the texts stand before it
        self.empty_pages: list[str] = []  # pages on which nothing would be seen
        self.attached_texts: list[Part] = []  # plain texts among the attachments
        self.attachments: list[Attachment] = []
        self.defects: list[str] = []
        self.taken = 0  # bytes of texts so far
        self.too_many = False  # more parts than bounds.py could count, for its boundary is written in an odd way


def walk(part: Part, contents: Contents, *, alternative: bool = False, related: bool = False, depth: int = 0) -> None:
    """Gather what a part and those in it hold."""
    kind = part.get_content_type()
    if len(contents.attachments) + len(contents.texts) + len(contents.alternatives) > PARTS:
        contents.too_many = True
        return
    if part.is_multipart() and not kind.startswith("message/") and depth < MAX_DEPTH:
        children = part.get_payload()
        if isinstance(children, list):
            is_alternative = kind == "multipart/alternative"
            htmls, alternatives = len(contents.htmls), len(contents.alternatives)
            _stray_text(part.preamble, contents)
            for child in children:
                if isinstance(child, Part):
                    walk(
                        child, contents,
                        alternative=is_alternative or (alternative and kind == "multipart/related"),
                        related=related or kind == "multipart/related",
                        depth=depth + 1,
                    )  # fmt: skip
            if is_alternative and len(contents.htmls) == htmls:  # nothing says the same as HTML: it is the body itself
                contents.texts += contents.alternatives[alternatives:]
                del contents.alternatives[alternatives:]
            _stray_text(part.epilogue, contents)
            return
    if kind.startswith("multipart/") and not part.is_multipart():  # its boundary never comes: the text is all there is
        kind = "text/plain"
    named = bool(_filename(part))
    attached = named or part.get_content_disposition() == "attachment"
    if kind == "text/plain" and not attached and not part.is_multipart():
        text = _text(part, contents)
        if text is not None:
            (contents.alternatives if alternative else contents.texts).append(text)
    elif kind == "text/html" and not attached and not contents.htmls and not part.is_multipart():
        _page(part, contents)
    else:
        if kind == "text/plain" and not part.is_multipart():
            contents.attached_texts.append(part)
        contents.attachments.append(_attachment(part, contents, related=related))


def show_what_there_is(contents: Contents) -> None:
    """After the walk: where there is neither text nor page, an empty page (it may hold more than can be told), and the text of
    the only attachment."""
    if contents.htmls or any(text.strip() for text in contents.texts + contents.alternatives):
        return
    if len(contents.attachments) == len(contents.attached_texts) == 1:
        content = content_of(contents.attached_texts[0])
        cut = _middle_cut(content, contents.attachments[0].name)
        contents.texts = [_decoded(contents.attached_texts[0], contents, content if cut is None else cut)]
    elif not contents.texts + contents.alternatives:
        contents.htmls = contents.empty_pages[:1]


def _stray_text(text: str | None, contents: Contents) -> None:
    """What stands before the first and behind the last boundary is to be ignored (RFC 2046 5.1.1), for it says to old
    programs that this is MIME. If it says anything else, a boundary was wrong, and it may be the report itself."""
    if text and text.strip() and not is_preamble(text):
        content = text.encode("utf-8", "surrogateescape")
        contents.texts.append(charset.decode(content, None)[0].replace("\r\n", "\n").strip("\n") + "\n")
        contents.defects.append("text outside the MIME boundaries; shown")


def _page(part: Part, contents: Contents) -> None:
    content = content_of(part)
    if contents.taken + len(content) <= TEXTS:
        page = _META_CHARSET.sub(r"\1utf-8", _decoded(part, contents, content))  # it goes as UTF-8, whatever it was
        if _is_empty(page):
            contents.empty_pages.append(page)
        else:
            contents.htmls.append(page)
            contents.before = len(contents.texts)
        return
    contents.attachments.append(Attachment(name="message.html", content_type="text/html", content=content))
    contents.texts.append("The page of this mail is too long to be shown here; it is attached as message.html.\n")


def _is_empty(page: str) -> bool:
    """Would nothing be seen on it? Some programs put an empty page beside the text that says everything."""
    if len(page) > _EMPTY_LIMIT or _SHOWS.search(page):
        return False
    return not _EMPTY_PAGE.sub("", page).strip()


def only_cited_inline(contents: Contents) -> tuple[Attachment, ...]:
    """The attachments; one that the page never shows is to be seen in the list of attachments."""
    page = contents.htmls[0].lower() if contents.htmls else ""
    return tuple(
        replace(one, inline=False)
        if one.inline and not {f"cid:{one.content_id.lower()}", f"cid:{quote(one.content_id.lower(), safe='')}"} & _cited(page)
        else one
        for one in contents.attachments
    )


def _cited(page: str) -> set[str]:
    return {html.unescape(found) for found in re.findall(r"cid:[^\s\"'<>)]+", page)}


def _middle_cut(content: bytes, name: str) -> bytes | None:
    """Of a text that is too long its beginning and its end, whole lines where there are lines; all of it is attached under this
    name. None if it is not that long."""
    if len(content) < 3 * SHOWN:
        return None
    head, tail = content[:SHOWN], content[-SHOWN:]
    head = head[: head.rfind(b"\n") + 1 or SHOWN]
    tail = tail[tail.find(b"\n") + 1 :]
    left_out = content.count(b"\n", len(head), len(content) - len(tail))
    return head + f"\n[… {left_out} lines are left out here; all of it is attached as {name} …]\n\n".encode() + tail


def _text(part: Part, contents: Contents) -> str | None:
    content = content_of(part)
    if contents.taken + len(content) > TEXTS:
        name = "message.txt" if not contents.attachments else f"attachment-{len(contents.attachments) + 1}.txt"
        contents.attachments.append(Attachment(name=name, content_type="text/plain", content=content))
        cut = _middle_cut(content, name) if contents.taken + 2 * SHOWN <= TEXTS else None
        return None if cut is None else _decoded(part, contents, cut)
    text = _decoded(part, contents, content)
    behind = _behind(part, contents)
    return f"{text.rstrip(chr(10))}\n\n{behind}" if behind else text


def _behind(part: Part, contents: Contents) -> str:
    behind = behind_base64(part)
    if behind:
        contents.defects.append("text behind the base64 of a part; shown")
    return charset.decode(behind, _charset(part))[0]


def _decoded(part: Part, contents: Contents, content: bytes) -> str:
    contents.taken += len(content)
    text, defect = charset.decode(content, _charset(part))
    if defect:
        contents.defects.append(defect)
    if "\0" in text:
        contents.defects.append("NUL in the text; left out")
        text = text.replace("\0", "")
    text = text.replace("\r\n", "\n")
    if part.get_content_type() != "text/plain":
        return text.replace("\r", "\n")
    if _parameter(part, "format").lower() == "flowed":
        text = flowed(text, delete_space=_parameter(part, "delsp").lower() == "yes")
    return as_shown(text)


def _parameter(part: Part, name: str) -> str:
    try:
        value = part.get_param(name)
    except PIECES:
        return ""
    return (value[2] if isinstance(value, tuple) else str(value or "")).strip()  # RFC 2231: (charset, language, value)


def _charset(part: Part) -> str | None:
    if declared := _parameter(part, "charset"):
        return declared
    # PVE::Tools writes Auto-Submitted between Content-Type and its continuation line (pve-common, Tools.pm, sendmail).
    lost = _LOST_CHARSET.search(str(part.get("Auto-Submitted", "")))
    return lost.group(1) if lost else None


def _attachment(part: Part, contents: Contents, *, related: bool) -> Attachment:
    kind = part.get_content_type()
    name = _filename(part)
    if kind.startswith("message/") or part.is_multipart():
        children = part.get_payload()
        inner = children[0] if isinstance(children, list) and children and isinstance(children[0], Part) else None
        if kind == "message/delivery-status":
            blocks = [as_bytes(child) for child in children if isinstance(child, Part)] if isinstance(children, list) else []
            content = b"\n".join(blocks) or content_of(part)
            kind, name = "text/plain", name or "delivery-status.txt"
        elif kind in ("message/rfc822", "message/global") and inner is not None:
            content = as_bytes(inner)
            title = charset.unfolded(str(inner.get("Subject", ""))).strip()
            name = name or f"{_safe_name(title)[:80] or 'message'}.eml"
        else:
            content = as_bytes(part)
            kind = "message/rfc822"
            name = name or "part.eml"
    else:
        content = content_of(part)
        if behind := _behind(part, contents):
            contents.texts.append(behind)
    if not name:
        extension = mimetypes.guess_extension(kind) or ".bin"
        name = f"attachment-{len(contents.attachments) + 1}{extension}"
    content_id = str(part.get("Content-ID", "")).strip().strip("<>").strip()
    content_id = "".join(c for c in content_id if c.isprintable() and c not in "<>")
    # Shown in the body, unless it says it is an attachment or nothing could refer to it.
    inline = bool(content_id) and part.get_content_disposition() != "attachment" and (related or kind.startswith("image/"))
    return Attachment(name=name, content_type=_safe_type(kind), content=content, inline=inline, content_id=content_id)


def _filename(part: Part) -> str:
    try:
        name = part.get_filename() or ""
    except PIECES:
        name = ""
    return _safe_name(charset.unfolded(str(name)))


def _safe_name(name: str) -> str:
    """A file name without directories and control characters, of at most NAME_LIMIT bytes: it ends up on somebody's disk."""
    name = charset.shown(re.split(r"[/\\]", name)[-1]).strip()
    if not name.strip("."):
        return ""
    name = "".join(c if c not in '<>:"|?*' else "_" for c in name)
    if len(name.encode("utf-8", "replace")) <= NAME_LIMIT:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension.encode("utf-8", "replace")) > 20:
        stem, dot, extension = name, "", ""
    room = NAME_LIMIT - len(f"{dot}{extension}".encode("utf-8", "replace"))
    return stem.encode("utf-8", "replace")[:room].decode("utf-8", "ignore") + dot + extension


def _safe_type(kind: str) -> str:
    return kind if re.fullmatch(r"[!-.0-~]+/[!-.0-~]+", kind) else "application/octet-stream"
