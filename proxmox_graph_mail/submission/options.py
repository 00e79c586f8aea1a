"""sendmail's command line.

The grammar is Postfix's getopt string plus what LSB, sendmail 8, exim, msmtp and nullmailer take besides: what
any common MTA accepts is accepted, and ignored where it means nothing here. No option opens a file: `-X`, `-C`
and `-O` were how web applications were made to write files (CVE-2016-10033), so their arguments are dropped
unread. Options end at the first operand or at `--`.
"""

from proxmox_graph_mail.errors import UsageError

DELIVER, SMTP, LIST, NEWALIASES, VERIFY, RUN_QUEUE, NOTHING, HELP, VERSION = (
    "deliver", "smtp", "list", "newaliases", "verify", "run queue", "nothing", "help", "version",
)  # fmt: skip
BACKGROUND, QUEUE_ONLY, INTERACTIVE = "b", "q", "i"

_WITH_ARGUMENT = "ABCDFLMNORVXbefhopr"
_WITHOUT_ARGUMENT = "EGIUcimntvx"
_ATTACHED_ONLY = "dq"
_MODES = {
    "m": DELIVER, "a": DELIVER, "s": SMTP, "p": LIST, "i": NEWALIASES, "v": VERIFY, "h": NOTHING, "H": NOTHING,
}  # fmt: skip
_REFUSED_MODES = {
    "d": "-bd: there is no SMTP daemon here; programs hand mail to this command, and the queue runner is started by systemd",
    "D": "-bD: there is no SMTP daemon here; programs hand mail to this command, and the queue runner is started by systemd",
    "l": "-bl: there is no SMTP daemon here; programs hand mail to this command, and the queue runner is started by systemd",
    "t": "-bt: there is no address test mode; -bv ADDRESS shows who would get the mail",
}


class Invocation:
    """What one command line asks for.

    `mode` is one of this module's words; `operands` are the arguments behind the options, as given; `extract`
    is -t, `dot_is_data` is -i, `body` -B's argument, `sender` is -f's argument or None, `delivery` the last letter of -odX.
    """

    __slots__ = (
        "body",
        "delivery",
        "dot_is_data",
        "extract",
        "full_name",
        "json",
        "mode",
        "notify",
        "operands",
        "sender",
        "verbose",
    )

    def __init__(self) -> None:
        self.mode = DELIVER
        self.operands: list[str] = []
        self.extract = False
        self.dot_is_data = False
        self.sender: str | None = None
        self.full_name = ""
        self.notify = ""
        self.body = ""
        self.delivery = BACKGROUND
        self.verbose = False
        self.json = False


def parse(name: str, argv: list[str]) -> Invocation:
    """Read `argv` (without the program's name); `name` is the name the program was called by.

    Raises UsageError for what no common MTA knows.
    """
    asked = Invocation()
    if name == "mailq":
        asked.mode = LIST
    elif name == "newaliases":
        asked.mode = NEWALIASES
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--":
            at += 1
            break
        if not word.startswith("-") or word == "-":
            break
        at += 1
        if word.startswith("--"):
            _long(asked, word)
            continue
        at += _short(asked, word[1:], argv[at] if at < len(argv) else None)
        if asked.mode in (HELP, VERSION):
            break
    asked.operands = argv[at:]
    if "--" not in argv[:at]:
        for operand in asked.operands:
            if operand.startswith("-") and len(operand) > 1:
                raise UsageError(f"{operand}: options must come before the recipients; put -- before a recipient with -")
    if asked.mode == RUN_QUEUE and asked.operands:
        raise UsageError("-q runs the queue and takes no recipients")
    return asked


def _long(asked: Invocation, word: str) -> None:
    if word == "--help":
        asked.mode = HELP
    elif word == "--version":
        asked.mode = VERSION
    elif word == "--json" and asked.mode == LIST:
        asked.json = True
    else:
        raise UsageError(f"{word}: unknown option; see sendmail --help")


def _short(asked: Invocation, letters: str, following: str | None) -> int:
    """Read one word of short options; return 1 if it took the following word as an argument."""
    for index, letter in enumerate(letters):
        rest = letters[index + 1 :]
        if letter in _ATTACHED_ONLY:
            if letter == "q" and asked.mode == DELIVER:
                asked.mode = RUN_QUEUE
            return 0
        if letter in _WITH_ARGUMENT:
            if rest:
                _option(asked, letter, rest)
                return 0
            if following is None:
                raise UsageError(f"-{letter} needs an argument")
            _option(asked, letter, following)
            return 1
        if letter not in _WITHOUT_ARGUMENT:
            raise UsageError(f"-{letter}: unknown option; see sendmail --help")
        if letter == "t":
            asked.extract = True
        elif letter == "i":
            asked.dot_is_data = True
        elif letter == "v":
            asked.verbose = True
        elif letter == "I":
            asked.mode = NEWALIASES
    return 0


def _option(asked: Invocation, letter: str, argument: str) -> None:
    if letter in "fr":
        asked.sender = argument
    elif letter == "F":
        asked.full_name = argument
    elif letter == "N":
        asked.notify = argument
    elif letter == "B":
        asked.body = argument
    elif letter == "b":
        mode = argument[:1]
        if mode in _MODES:
            asked.mode = _MODES[mode]
        else:
            raise UsageError(_REFUSED_MODES.get(mode, f"-b{argument}: unknown mode; see sendmail --help"))
    elif letter == "o":
        if argument[:1] == "i" and argument not in ("ifalse", "i0"):
            asked.dot_is_data = True
        elif argument in ("di", "db", "dq", "dd", "df"):
            # -odd (look up later) is -odq here; -odf (LSB: in the foreground) promises no outcome, so it is -odb.
            asked.delivery = {"i": INTERACTIVE, "q": QUEUE_ONLY, "d": QUEUE_ONLY}.get(argument[1], BACKGROUND)
