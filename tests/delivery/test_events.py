"""What wakes the runner."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proxmox_graph_mail.delivery.events import Events


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o640), lambda path: os.utime(path, (5, 5)), lambda path: path.write_text("x"),
        lambda path: path.unlink(), lambda path: path.rename(path.with_name("other")),
    ],
    ids=["mode", "time", "content", "removed", "renamed"],
)  # fmt: skip
def test_every_change_of_the_settings_files_wakes_it(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """Owner and mode too: they are what an admin mends where a file could not be read."""
    path = tmp_path / "conf"
    path.touch()
    events = Events(threading.Event())
    try:
        events.catch_signals()
        events.watch([path])
        events.wait(0.01)
        change(path)
        begun = time.monotonic()
        events.wait(20)
        assert time.monotonic() - begun < 10
    finally:
        events.close()


def test_queue_ids_come_through_the_fifo_whole(tmp_path: Path) -> None:
    """However the pipe cuts them; a line that is none only says that something changed."""
    events = Events(threading.Event())
    one, two = "0656A4B0C1E1290FA3", "0656A4B0C1E1290FA4"
    try:
        events.listen(tmp_path)
        with (tmp_path / "wake").open("wb", buffering=0) as fifo:
            for piece in (f"{one}\n{two[:7]}", f"{two[7:]}\n"):
                fifo.write(piece.encode())
                events.wait(5)
            assert events.news() == (False, {one, two})
            fifo.write(b"\n../../etc/passwd\n")
            events.wait(5)
            assert events.news() == (True, set())
            fifo.write(b"x" * 5000)
            events.wait(5)
            assert events.news() == (True, set())
            fifo.write(f"{one}\n".encode())
            events.wait(5)
            assert events.news()[1] == {one}
    finally:
        events.close()
