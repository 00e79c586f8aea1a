"""The mail system of a host whose organisation lives in Microsoft 365.

`sendmail` makes a message safe in the spool; the queue runner sends it as a Microsoft Graph `sendMail` call.
docs/architecture.md follows one message through the rooms of this package.
"""

__version__ = "0.1.0"
