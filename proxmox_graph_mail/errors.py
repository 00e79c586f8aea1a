"""Every error of this program, as one tree.

    MailError                      temporary  status
    ├── UsageError                 no         64 EX_USAGE        the command line is wrong
    ├── DataError                  no         65 EX_DATAERR      an address or a message cannot be taken
    ├── TooLargeError              no         69 EX_UNAVAILABLE  larger than any mailbox may send
    ├── SpoolError                 yes        75 EX_TEMPFAIL     the spool is absent, full or not writable
    │   └── SpoolAccessError       yes        75 EX_TEMPFAIL     … for this user; the submit socket may do it
    ├── ReceptionError             as told    as told            the other end of the submit socket refused, or is not there
    ├── PrivilegeError             no         77 EX_NOPERM       only root and the service user may do this
    └── SettingsError              yes        78 EX_CONFIG       a settings file is wrong; the mail is held meanwhile

Each class says two facts: is it temporary (would the same call succeed later, with nothing changed by the
caller?) and which status of sysexits.h a program ends with. A message is one sentence that names the thing
and says what to do. Errors of other libraries are translated once, where they enter, with `from`.

What Graph or Entra answer is no exception but a value: graph/outcome.py.
"""

EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class MailError(Exception):
    """Whatever this program can say went wrong."""

    temporary = True
    status = EX_TEMPFAIL


class UsageError(MailError):
    """The command line is wrong."""

    temporary = False
    status = EX_USAGE


class DataError(MailError):
    """An address or a message cannot be taken as it is."""

    temporary = False
    status = EX_DATAERR


class TooLargeError(MailError):
    """The message is larger than any mailbox may send."""

    temporary = False
    status = EX_UNAVAILABLE


class SpoolError(MailError):
    """The spool is absent, full or broken."""


class SpoolAccessError(SpoolError):
    """This user, or this sandbox, may not write the spool: the submit socket is the way."""


class ReceptionError(MailError):
    """The submit socket's other end refused the message, or there is none."""

    def __init__(self, message: str, status: int = EX_TEMPFAIL) -> None:
        super().__init__(message)
        self.status = status
        self.temporary = status == EX_TEMPFAIL


class PrivilegeError(MailError):
    """Only root and the service user may do this."""

    temporary = False
    status = EX_NOPERM


class SettingsError(MailError):
    """A settings file or the environment is wrong."""

    status = EX_CONFIG
