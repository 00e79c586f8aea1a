"""The token cache on disk: one token for all processes, and one question to Entra when it ends.

    STATE/tokens.json   0600, replaced atomically: tokens and refusals, keyed by cloud, tenant, client and credential
    STATE/tokens.lock   held (flock) while asking Entra and writing

Entra answers many equal requests with AADSTS50196; so whoever finds the token ended takes the lock, reads again, and
only then asks. A refusal of the credential is kept too, for REFUSAL_MEMORY: a queue of 500 mails asks once.
"""

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from proxmox_graph_mail import files
from proxmox_graph_mail.errors import CredentialError
from proxmox_graph_mail.graph.credential import Token
from proxmox_graph_mail.graph.entra import TokenEndpoint

MARGIN = 300.0  # seconds before its end from which a token is renewed
REFUSAL_MEMORY = 300.0
"""Seconds a refusal is believed without asking again. A changed credential has another key and asks at once."""
_DISK_TROUBLE = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)
BUSY_MEMORY = 5.0  # seconds a transient failure is believed


class TokenCache:
    """The access tokens of one credential, in a state directory; None: in this process alone. Safe for threads and processes."""

    def __init__(self, state: Path | None, endpoint: TokenEndpoint, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._endpoint = endpoint
        self._clock = clock
        self._token: Token | None = None
        self._mutex = threading.Lock()

    def get(self) -> Token:
        """A token with at least MARGIN to go. Raises CredentialError."""
        with self._mutex:
            if self._token is None or not self._fresh(self._token):
                self._token = self._renew(rejected=None, claims=None)
            return self._token

    def replace(self, rejected: Token, claims: str | None = None) -> Token:
        """A token other than one that Graph refused (another process may have it already). Raises CredentialError."""
        with self._mutex:
            if self._token is None or self._token.value == rejected.value or claims:
                self._token = None
                self._token = self._renew(rejected, claims)
            return self._token

    def forget(self, token: Token) -> None:
        """Let the next one ask for a new token: what a token permits was decided when it was issued, and an admin who grants
        a permission must not wait for the old one's end."""
        with self._mutex, contextlib.suppress(CredentialError), self._locked():
            entries = self._read()
            key = self._endpoint.credential.key
            if entries.get(key, {}).get("token") == token.value:
                self._write({other: entry for other, entry in entries.items() if other != key})
            if self._token == token:
                self._token = None

    def forget_refusal(self) -> None:
        """Ask Entra next time, although it refused a moment ago."""
        with self._mutex, contextlib.suppress(CredentialError), self._locked():
            entries = self._read()
            if "reason" in entries.pop(self._endpoint.credential.key, {}):
                self._write(entries)

    def _renew(self, rejected: Token | None, claims: str | None) -> Token:
        with self._locked():
            now = self._clock()
            entries = self._read()
            key = self._endpoint.credential.key
            known = _token(entries.get(key))
            if known and self._fresh(known) and (rejected is None or (known.value != rejected.value and not claims)):
                return known
            if (refusal := _refusal(entries.get(key), now)) is not None:
                raise refusal
            entries = {other: entry for other, entry in entries.items() if other != key and entry["expires"] > now}
            try:
                token = self._endpoint.acquire(now, claims)
            except CredentialError as error:
                self._write(entries | {key: _remembered(error, now)})
                raise
            self._write(entries | {key: {"token": token.value, "expires": token.expires}})
            return token

    def _fresh(self, token: Token) -> bool:
        return self._clock() < token.expires - MARGIN

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._state is None:
            yield
            return
        path = self._state / "tokens.lock"
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
            except OSError as error:
                if error.errno not in _DISK_TROUBLE:
                    raise
                fd = os.open(path, os.O_RDONLY | flags)  # a read-only or full disk must not stop mail
        except FileNotFoundError:
            yield  # never a lock, and no disk to make one on: this process asks for itself
            return
        except OSError as error:
            raise CredentialError(
                f"cannot write the token cache {path}: {error.strerror}", "TokenCache", temporary=True
            ) from error  # fmt: skip
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _read(self) -> dict[str, dict[str, Any]]:
        entries = files.read_json(self._state / "tokens.json") if self._state else {}
        return {k: v for k, v in entries.items() if isinstance(v, dict) and isinstance(v.get("expires"), int | float)}

    def _write(self, entries: dict[str, dict[str, Any]]) -> None:
        if self._state is not None:
            # A full disk must not stop mail: this process has its token, others ask for theirs.
            with contextlib.suppress(OSError):
                files.replace(str(self._state / "tokens.json"), json.dumps(entries).encode())


def _token(entry: dict[str, Any] | None) -> Token | None:
    if entry is None or not isinstance(entry.get("token"), str):
        return None
    return Token(entry["token"], entry["expires"])


def _refusal(entry: dict[str, Any] | None, now: float) -> CredentialError | None:
    """What Entra answered last time, if that is to be believed still; not if a clock that was set makes it last."""
    try:
        if entry is None or "reason" not in entry or not 0 < (left := entry["expires"] - now) <= entry["memory"]:
            return None
        reason, code, temporary, wait = str(entry["reason"]), str(entry["code"]), bool(entry["temporary"]), bool(entry["wait"])
    except (KeyError, TypeError, ValueError):
        return None
    return CredentialError(reason, code, temporary=temporary, retry_after=left if wait else 0.0)


def _remembered(error: CredentialError, now: float) -> dict[str, Any]:
    memory = max(BUSY_MEMORY if error.temporary else REFUSAL_MEMORY, error.retry_after)
    return {
        "reason": str(error), "code": error.code, "temporary": error.temporary, "wait": error.retry_after > 0, "memory": memory,
        "expires": now + memory,
    }  # fmt: skip
