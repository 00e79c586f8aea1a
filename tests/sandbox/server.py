"""The server: routes, faults, and the control side `/_sandbox/…`."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any, ClassVar

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.sandbox import applications, drafts, entra, graph
from tests.sandbox.world import Fault, World

Handler = Callable[[Request], Awaitable[Response]]


class _CutError(Exception):
    """Cut the connection instead of answering."""


class CuttableProtocol(H11Protocol):
    """uvicorn's protocol, with the transports within reach, so that a fault can cut one."""

    transports: ClassVar[dict[tuple[str, int], asyncio.Transport]] = {}
    opened = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        type(self).opened += 1
        self._peer = transport.get_extra_info("peername")[:2]
        self.transports[self._peer] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transports.pop(self._peer, None)
        super().connection_lost(exc)


def application(world: World) -> Starlette:
    """The ASGI application: Entra and Graph in one."""

    def faulty(on: str, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            fault = world.fault(on)
            try:
                if fault is None:
                    return await handler(request)
                return await strike(world, fault, request, handler)
            except _CutError:
                assert request.client is not None
                transport = CuttableProtocol.transports.get((request.client.host, request.client.port))
                if transport is not None:  # else the client was faster
                    transport.abort()
                return Response(status_code=500)
            except ClientDisconnect:  # a runner that was killed in the middle of its request
                return Response(status_code=400)

        return handle

    async def discovery(request: Request) -> Response:
        world.counts.discovery += 1
        return entra.discovery(world, request)

    async def token(request: Request) -> Response:
        world.counts.token += 1
        return await entra.token(world, request)

    async def send_mail(world: World, request: Request) -> Response:
        content = await request.body()
        mailbox = request.path_params["mailbox"]
        problem = graph.token_problem(world, request)
        if problem is not None:
            return problem
        problem, body = graph.message_problem(world, mailbox, request, content)
        if problem is not None:
            return problem
        request_id = str(uuid.uuid4())
        world.accept(mailbox, body, request_id, request.headers["client-request-id"])
        return Response(status_code=202, headers={"request-id": request_id})

    def counted(on: str, handler: Callable[[World, Request], Awaitable[Response]]) -> Handler:
        async def handle(request: Request) -> Response:
            counts = world.counts
            counts.sendmail += on == "sendMail"
            counts.in_flight += 1
            counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
            try:
                if counts.in_flight > graph.CONCURRENT:
                    text = "Application is over its MailboxConcurrency limit."
                    return graph.error(429, "ApplicationThrottled", text, {"Retry-After": "1"})
                await asyncio.sleep(world.latency if on == "sendMail" else 0)
                return await faulty(on, lambda request: handler(world, request))(request)
            finally:
                counts.in_flight -= 1

        return handle

    async def elsewhere(request: Request) -> Response:
        world.counts.leaked += "authorization" in request.headers
        return Response(status_code=202)

    async def control(request: Request) -> Response:
        """GET: what is; POST: change it. The body's keys are World's."""
        if request.method == "POST":
            for key, value in (await request.json()).items():
                if key == "faults":
                    world.faults = [Fault(**fault) for fault in value]
                elif key == "forget":
                    world.accepted.clear()
                    world.outboxes.clear()
                    world.counts = type(world.counts)()
                elif key == "revoke":
                    world.signing_key += "x"
                elif key == "age":  # what was accepted was so long ago
                    world.accepted[:] = [replace(mail, time=mail.time - value) for mail in world.accepted]
                elif key == "refused":
                    world.refused = set(value)
                elif key == "mailboxes":
                    world.mailboxes = set(value)
                elif key == "drafts":
                    world.drafts.clear()
                elif key == "upload":  # what an admin does in the portal
                    der = x509.load_pem_x509_certificate(value.encode()).public_bytes(Encoding.DER)
                    applications.register(world, der)
                elif key == "end_hangs":
                    world.hanging.set()
                    world.hanging = asyncio.Event()
                else:
                    setattr(world, key, value)
        world.counts.connections = CuttableProtocol.opened
        return JSONResponse(
            {
                "counts": asdict(world.counts), "accepted": [asdict(mail) for mail in world.accepted],
                "inbox": [name for box in world.outboxes.values() for name, when in box.inbox if when <= world.now()],
                "bounced": [name for box in world.outboxes.values() for name in box.bounced],
                "faults_left": len(world.faults), "drafts_left": len(world.drafts), "keys": list(world.keys),
            }
        )  # fmt: skip

    return Starlette(
        routes=[
            Route("/{tenant}/v2.0/.well-known/openid-configuration", faulty("discovery", discovery)),
            Route("/{tenant}/oauth2/v2.0/token", faulty("token", token), methods=["POST"]),
            Route("/v1.0/users/{mailbox}/sendMail", counted("sendMail", send_mail), methods=["POST"]),
            Route("/v1.0/users/{mailbox}/messages", counted("draft", drafts.create), methods=["POST"]),
            Route("/v1.0/users/{mailbox}/messages/{draft}", counted("delete", drafts.delete), methods=["DELETE"]),
            Route("/v1.0/users/{mailbox}/messages/{draft}/attachments", counted("attachment", drafts.attach), methods=["POST"]),
            Route(
                "/v1.0/users/{mailbox}/messages/{draft}/attachments/createUploadSession",
                counted("session", drafts.session),
                methods=["POST"],
            ),
            Route("/v1.0/users/{mailbox}/messages/{draft}/send", counted("send", drafts.send), methods=["POST"]),
            Route("/v1.0/users/{mailbox}/mailFolders/sentitems/messages", counted("sentitems", drafts.sent_items)),
            Route("/upload/{draft}/{session}", counted("upload", drafts.upload), methods=["GET", "PUT"]),
            Route("/v1.0/applications/{application}/addKey", counted("addKey", applications.add_key), methods=["POST"]),
            Route("/v1.0/applications/{application}/removeKey", counted("removeKey", applications.remove_key), methods=["POST"]),
            Route("/elsewhere", elsewhere, methods=["GET", "POST"]),
            Route("/_sandbox", control, methods=["GET", "POST"]),
        ]
    )


async def strike(world: World, fault: Fault, request: Request, handler: Handler) -> Response:
    """Let a fault happen."""
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    if fault.do == "status":
        if fault.on in ("token", "discovery"):
            return JSONResponse({"error": fault.code, "error_description": fault.message}, fault.status, headers)
        return graph.error(fault.status, fault.code, fault.message, headers)
    if fault.do == "hang":
        waiting = asyncio.create_task(world.hanging.wait())
        await asyncio.wait([waiting], timeout=fault.seconds)
        raise _CutError
    if fault.do == "cut_before":
        raise _CutError
    if fault.do == "garbage":
        return HTMLResponse("<html><title>Welcome to the guest network</title></html>", fault.status)
    if fault.do == "giant":
        return StreamingResponse(_endless(request), fault.status, media_type="application/json")
    if fault.do == "redirect":
        return Response(status_code=307, headers={"Location": "/elsewhere"})
    if fault.do == "cae":
        claims = base64.b64encode(json.dumps({"access_token": {"nbf": {"essential": True, "value": "1"}}}).encode()).decode()
        challenge = f'Bearer realm="", authorization_uri="x", error="insufficient_claims", claims="{claims}"'
        return graph.error(401, "InvalidAuthenticationToken", "Continuous access evaluation", {"WWW-Authenticate": challenge})
    answer = await handler(request)
    assert answer.status_code < 300, "the fault needs a request that is accepted"
    if fault.do == "cut_after":
        raise _CutError
    if fault.do == "status_after":
        return graph.error(fault.status, fault.code, fault.message, headers)
    raise AssertionError(f"no such fault: {fault.do}")


async def _endless(request: Request) -> AsyncIterator[bytes]:
    yield b'{"error": {"code": "'
    while not await request.is_disconnected():
        yield b"x" * 65536


async def serve(world: World, config: dict[str, Any], ready: Callable[[str], None]) -> None:
    """Serve on a loopback port (a free one if none is given) until cancelled; `ready` gets the base URL."""
    import socket

    listener = socket.create_server(("127.0.0.1", config.pop("port", 0)))
    base = f"https://localhost:{listener.getsockname()[1]}"
    world.authority, world.endpoint = world.authority or base, world.endpoint or base
    server = uvicorn.Server(
        uvicorn.Config(
            application(world), http=CuttableProtocol, log_level="error", lifespan="off", timeout_keep_alive=120,
            server_header=False, **config,
        )
    )  # fmt: skip
    ready(base)
    await server.serve(sockets=[listener])
