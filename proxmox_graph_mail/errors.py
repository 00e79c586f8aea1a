"""Every error of this program, as one tree.

    MailError                        temporary  status
    ├── UsageError                   no         64 EX_USAGE        the command line is wrong
    ├── DataError                    no         65 EX_DATAERR      an address or a message cannot be taken
    ├── TooLargeError                no         69 EX_UNAVAILABLE  larger than any mailbox may send
    ├── SpoolError                   yes        75 EX_TEMPFAIL     the spool is absent, full or not writable
    │   └── SpoolAccessError         yes        75 EX_TEMPFAIL     … for this user; the submit socket may do it
    ├── ClientGoneError              yes        75 EX_TEMPFAIL     a client of the submit socket or of SMTP left
    ├── ReceptionError               as told    as told            the other end of the submit socket refused, or is not there
    ├── PrivilegeError               no         77 EX_NOPERM       only root and the service user may do this
    ├── FileError                    no         66 EX_NOINPUT      a file that an admin named cannot be read or written
    ├── SettingsError                yes        78 EX_CONFIG       a settings file is wrong; the mail is held meanwhile
    ├── ConfinedError                yes        75 EX_TEMPFAIL     a process of ours with fewer rights could not do its work
    ├── CommandError                 no         69 EX_UNAVAILABLE  a command of this host's or Proxmox's failed, or there is none
    └── RequestError                 as told    75 or 69           a request to Microsoft did not get what it asked for
        ├── CredentialError          as told    75 or 69           Entra gives no access token
        ├── ConnectionFailedError    as told    75 or 69           no connection, or one that closed the connection
        ├── ThrottledError           yes        75 EX_TEMPFAIL     Graph asked for a pause that is not over; nothing was asked
        └── RefusedError             as told    75 or 69           Graph answered, and not what was asked for

Each class says: is it temporary (would the same call succeed later, with nothing changed by the caller?), which status of
sysexits.h a program ends with, and what to do (`remedy`), where the message does not say it better. A message is one sentence
that names the thing. Errors of other libraries are translated once, where they enter, with `from`. `sendmail` imports this.

What comes of a mail is no exception but a value: graph/outcome.py.
"""

EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class MailError(Exception):
    """Whatever this program can say went wrong. `remedy` is what to do, where the message does not say it behind a semicolon."""

    temporary = True
    status = EX_TEMPFAIL
    remedy = "run proxmox-graph-mail check"

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do."""
        message = str(self)
        return message if "; " in message else f"{message.removesuffix('.')}; {self.remedy}"


class UsageError(MailError):
    """The command line is wrong."""

    temporary = False
    status = EX_USAGE
    remedy = "see --help"


class DataError(MailError):
    """An address or a message cannot be taken as it is."""

    temporary = False
    status = EX_DATAERR
    remedy = "correct it, and try again"


class TooLargeError(MailError):
    """The message is larger than any mailbox may send."""

    temporary = False
    status = EX_UNAVAILABLE
    remedy = "send it in parts, or send a link to it"


class SpoolError(MailError):
    """The spool is absent, full or broken."""


class SpoolAccessError(SpoolError):
    """This user, or this sandbox, may not write the spool: the submit socket is the way."""

    remedy = "see systemctl status proxmox-graph-mail-submit.socket"


class ClientGoneError(MailError):
    """The client of the submit socket or of an SMTP dialogue left, or fell silent. It has its mail still."""

    remedy = "send it again"


class ReceptionError(MailError):
    """The submit socket's other end refused the message, or there is none."""

    remedy = "see systemctl status proxmox-graph-mail-submit.socket"

    def __init__(self, message: str, status: int = EX_TEMPFAIL) -> None:
        super().__init__(message)
        self.status = status
        self.temporary = status == EX_TEMPFAIL


class PrivilegeError(MailError):
    """Only root and the service user may do this."""

    temporary = False
    status = EX_NOPERM
    remedy = "run it as root"


class FileError(MailError):
    """A file that an admin named cannot be read or written."""

    temporary = False
    status = EX_NOINPUT
    remedy = "correct the path, or the file's owner and mode"


class SettingsError(MailError):
    """A settings file or the environment is wrong."""

    status = EX_CONFIG
    remedy = "correct it, or run proxmox-graph-mail setup"


class ConfinedError(MailError):
    """A process of ours with fewer rights (to take a message apart, to speak to Microsoft for root) could not do its work."""

    remedy = "journalctl -u 'proxmox-graph-mail*' may say why"


class CommandError(MailError):
    """A command of this host's or Proxmox's failed, or there is none."""

    temporary = False
    status = EX_UNAVAILABLE
    remedy = "run proxmox-graph-mail check on this host"


class RequestError(MailError):
    """A request to Microsoft did not get what it asked for.

    `temporary`: it may succeed later by itself. `uncertain`: it may have been done, so it must not be repeated blindly. `shared`:
    every other request would meet the same. `retry_after` is in seconds, 0 where the other side named none.
    """

    def __init__(
        self, message: str, code: str = "", *,
        temporary: bool, uncertain: bool = False, shared: bool = True, retry_after: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.code = code
        self.temporary = temporary
        self.uncertain = uncertain
        self.shared = shared
        self.retry_after = retry_after
        self.status = EX_TEMPFAIL if temporary or uncertain else EX_UNAVAILABLE

    @property
    def repeatable(self) -> bool:
        """Is it certain that nothing was done, and likely that it works in a moment?"""
        return self.temporary and not self.uncertain


class CredentialError(RequestError):
    """Entra gives no access token."""


class ConnectionFailedError(RequestError):
    """There is no connection, or one that broke off before the answer was whole."""


class ThrottledError(RequestError):
    """Graph asked for a pause that is not over; nothing was asked."""


class RefusedError(RequestError):
    """Graph answered, and not what was asked for: `http_status`, its `code`, its own words, its request-id."""

    http_status = 0
    words = ""
    request_id = ""
