"""An exchange ends, whatever the other side does: it dribbles, it never ends, it unpacks to gigabytes."""

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trustme

from proxmox_graph_mail.errors import ConnectionFailedError
from proxmox_graph_mail.graph import deadline as deadline_module
from proxmox_graph_mail.graph import http as http_module
from proxmox_graph_mail.graph.http import ANSWER_LIMIT, Wire

Serve = Callable[[ssl.SSLSocket, threading.Event], None]


@contextmanager
def one_connection(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A port on which somebody talks to the first who connects, in a thread, until the event."""
    over = threading.Event()

    def run() -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                talk(connection, over)
        except OSError:
            pass  # the client has left, as it should

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            thread.join()


@contextmanager
def server(folder: Path, serve: Serve) -> Iterator[tuple[str, Path]]:
    """A TLS server for one connection; its URL, and the CA."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)

    def talk(connection: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            request = b""
            while not request.endswith(b"\r\n\r\nx"):
                request += tls.recv(1 << 16)
            serve(tls, over)

    with one_connection(talk) as port:
        yield f"https://localhost:{port}/", folder / "ca.pem"


def dribble(text: bytes) -> Serve:
    """A byte every tenth of a second, and no end: no single read waits long."""

    def serve(tls: ssl.SSLSocket, over: threading.Event) -> None:
        for byte in text + b"x" * 1000:
            tls.sendall(bytes([byte]))
            if over.wait(0.1):
                return

    return serve


@pytest.mark.parametrize(
    "text", [b"HTTP/1.1 202 Accepted\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"], ids=["head", "body"]
)
def test_an_answer_that_dribbles_ends_with_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """Uncertain: the request may have been taken."""
    monkeypatch.setattr(http_module, "EXCHANGE", 1.0)
    with (
        server(tmp_path, dribble(text)) as (url, ca), closing(Wire(ca, "", "", [])) as wire,
        pytest.raises(ConnectionFailedError) as caught,
    ):  # fmt: skip
        wire.request("POST", url, content=b"x")
    assert (caught.value.uncertain, caught.value.temporary) == (True, True)


def test_a_program_that_is_told_to_stop_does_not_wait_for_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the way has FAREWELL seconds; systemd need not kill the runner."""
    monkeypatch.setattr(deadline_module, "FAREWELL", 0.2)
    stop = threading.Event()

    def serve(_tls: ssl.SSLSocket, over: threading.Event) -> None:
        stop.set()
        over.wait(30)

    with (
        server(tmp_path, serve) as (url, ca), closing(Wire(ca, "", "", [], stop)) as wire,
        pytest.raises(ConnectionFailedError) as caught,
    ):  # fmt: skip
        wire.request("POST", url, content=b"x")
    assert caught.value.uncertain


def test_an_answer_is_not_unpacked(tmp_path: Path) -> None:
    """2.6 kB of gzip in gzip fill 4 GB: none was asked for, so its bytes are what it is."""
    bomb = gzip.compress(gzip.compress(b"\0" * (64 << 20)))

    def serve(tls: ssl.SSLSocket, _over: threading.Event) -> None:
        head = f"HTTP/1.1 500 x\r\nContent-Encoding: gzip, gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        tls.sendall(head.encode() + bomb)

    with server(tmp_path, serve) as (url, ca), closing(Wire(ca, "", "", [])) as wire:
        answer = wire.request("POST", url, content=b"x")
    assert answer.content == bomb[:ANSWER_LIMIT]


def test_an_exchange_in_time_leaves_no_deadline_behind(tmp_path: Path) -> None:
    """The next one of the same thread has its own."""

    def serve(tls: ssl.SSLSocket, _over: threading.Event) -> None:
        tls.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    with server(tmp_path, serve) as (url, ca), closing(Wire(ca, "", "", [])) as wire:
        assert wire.request("POST", url, content=b"x").status == 202
    assert deadline_module._now.end == float("inf")


@contextmanager
def slow_proxy(answer: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A proxy in plain text that answers CONNECT by a byte every tenth of a second, and an event: it was asked."""
    asked = threading.Event()

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(1 << 16)
        asked.set()
        for byte in answer + b"x" * 3000:
            connection.sendall(bytes([byte]))
            if over.wait(0.1):
                return

    with one_connection(talk) as port:
        yield f"http://127.0.0.1:{port}", asked


@pytest.mark.parametrize("told_to_stop", [False, True])
def test_a_proxy_that_dribbles_its_answer_is_left(monkeypatch: pytest.MonkeyPatch, *, told_to_stop: bool) -> None:
    """After so many seconds, or at once when the program is told to stop; nothing was sent, so nothing is uncertain."""
    monkeypatch.setattr(deadline_module, "SLICE", 0.1)
    monkeypatch.setattr(deadline_module, "PROXY_PATIENCE", 100.0 if told_to_stop else 1.0)
    stop = threading.Event()
    with slow_proxy(b"HTTP/1.1 200 OK\r\nX-A: ") as (proxy, asked):
        threading.Thread(target=lambda: told_to_stop and asked.wait() and stop.set()).start()  # type: ignore[func-returns-value]
        begun = time.monotonic()
        with closing(Wire(None, proxy, "", ["graph.example"], stop)) as wire, pytest.raises(ConnectionFailedError) as caught:
            wire.request("POST", "https://graph.example/", content=b"x")
    assert (caught.value.uncertain, caught.value.temporary) == (False, True)
    assert time.monotonic() - begun < 20
