"""The file `in-flight`: what the queue runner has in hand, so that its successor knows which message crashed it.

One line a message, `ID DEATHS`: how many runners died with it in hand before. Overwritten in place, through one descriptor; a
precaution and no state, so what the disk does not let it write is no error.
"""

import os

from proxmox_graph_mail.files import open_plain, read_plain
from proxmox_graph_mail.spool.store import is_id

LIMIT = 1 << 16  # bytes read of it


class InFlight:
    """The file of one spool, by its root directory."""

    def __init__(self, root: str) -> None:
        self._path = f"{root}/in-flight"
        self._fd: int | None = None
        self._written = b""

    def read(self) -> dict[str, int]:
        """What the last runner wrote: message → deaths before its own."""
        try:
            text = read_plain(self._path, LIMIT).decode("ascii", "replace")
        except OSError:
            return {}
        lines = [line.partition(" ") for line in text.splitlines()]
        return {queue_id: int(deaths) for queue_id, _, deaths in lines if is_id(queue_id) and deaths.isdecimal()}

    def write(self, deaths: dict[str, int]) -> None:
        """Replace what `read` gives."""
        text = "".join([f"{queue_id} {count}\n" for queue_id, count in deaths.items()]).encode()
        if text == self._written:
            return
        try:
            if self._fd is None:
                self._fd = open_plain(self._path, os.O_WRONLY | os.O_CREAT)
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))
            self._written = text
        except OSError:
            pass  # a full or read-only disk

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._written = b""
