"""Graph's application: addKey and removeKey, with their proof (Graph, "Generating proof-of-possession tokens for rolling keys")."""

import base64
import hashlib
import json
import uuid
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.sandbox.entra import thumbprint
from tests.sandbox.graph import error, token_problem
from tests.sandbox.world import APPLICATION, World

AUDIENCE = "00000002-0000-0000-c000-000000000000"


def register(world: World, certificate: bytes) -> str:
    """Let the app have this certificate (DER); its keyId."""
    public = x509.load_der_x509_certificate(certificate).public_key()
    world.certificates[thumbprint(certificate)] = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key_id = str(uuid.uuid4())
    world.keys[key_id] = certificate
    return key_id


def _proof_problem(world: World, proof: str) -> str:
    try:
        header = jwt.get_unverified_header(proof)
        by_x5t = {base64.urlsafe_b64encode(hashlib.sha1(der).digest()).decode().rstrip("="): der for der in world.keys.values()}
        der = by_x5t.get(str(header.get("x5t", "")))
        if der is None:
            return "the proof is signed by no key of the application"
        public = x509.load_der_x509_certificate(der).public_key()
        content: dict[str, Any] = jwt.decode(
            proof, public, ["RS256"], audience=AUDIENCE, issuer=APPLICATION, options={"require": ["aud", "iss", "nbf", "exp"]}  # type: ignore[arg-type]
        )  # fmt: skip
    except jwt.InvalidTokenError as problem:
        return str(problem)
    return "" if content["exp"] - content["nbf"] <= 600 else "the proof is valid for too long"


async def _checked(world: World, request: Request) -> tuple[Response | None, dict[str, Any]]:
    if (problem := token_problem(world, request, "")) is not None:
        return problem, {}
    if request.path_params["application"] != APPLICATION:
        return error(
            404, "Request_ResourceNotFound", "Resource does not exist or one of its queried reference-property objects."
        ), {}
    body = json.loads(await request.body())
    if reason := _proof_problem(world, body.get("proof", "")):
        return error(401, "Authentication_MissingOrMalformed", f"Access Token missing or malformed. ({reason})"), {}
    return None, body


async def add_key(world: World, request: Request) -> Response:
    """`POST /applications/{id}/addKey`."""
    problem, body = await _checked(world, request)
    if problem is not None:
        return problem
    key = body["keyCredential"]
    if (key["type"], key["usage"], body["passwordCredential"]) != ("AsymmetricX509Cert", "Verify", None):
        return error(400, "Request_BadRequest", "Invalid key credential.")
    key_id = register(world, base64.b64decode(key["key"]))
    return JSONResponse({"keyId": key_id, "type": key["type"], "usage": key["usage"], "key": None})


async def remove_key(world: World, request: Request) -> Response:
    """`POST /applications/{id}/removeKey`."""
    problem, body = await _checked(world, request)
    if problem is not None:
        return problem
    der = world.keys.pop(body["keyId"], None)
    if der is None:
        return error(404, "Request_ResourceNotFound", "No credential with this keyId.")
    del world.certificates[thumbprint(der)]
    return Response(status_code=204)
