"""Entra's half: OIDC discovery and the v2.0 token endpoint for client credentials.

Source: Entra, "client credentials grant flow", "certificate credentials", "error codes".
"""

import base64
import time
import uuid
from typing import Any
from urllib.parse import parse_qsl

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.sandbox.world import CLIENT, FEDERATION, PRINCIPAL, TENANT, TENANT_DOMAIN, World

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_HTTP = {"invalid_client": 401, "unauthorized_client": 400, "invalid_request": 400, "invalid_scope": 400, "access_denied": 400}


def refusal(number: int, error: str, text: str) -> Response:
    """An error answer of the token endpoint."""
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: {text} Trace ID: {uuid.uuid4()} Timestamp: {time.strftime('%Y-%m-%d %H:%M:%SZ')}",
        "error_codes": [number],
        "timestamp": time.strftime("%Y-%m-%d %H:%M:%SZ"),
        "trace_id": str(uuid.uuid4()),
        "correlation_id": str(uuid.uuid4()),
    }
    return JSONResponse(body, _HTTP[error])


def discovery(world: World, request: Request) -> Response:
    """`/{tenant}/v2.0/.well-known/openid-configuration`."""
    tenant = request.path_params["tenant"]
    if tenant not in (TENANT, TENANT_DOMAIN):
        return refusal(90002, "invalid_request", f"Tenant '{tenant}' not found.")
    return JSONResponse(
        {
            "issuer": f"{world.authority}/{TENANT}/v2.0",
            "authorization_endpoint": f"{world.authority}/{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{world.authority}/{tenant}/oauth2/v2.0/token",
            "jwks_uri": f"{world.authority}/{tenant}/discovery/v2.0/keys",
        }
    )


async def token(world: World, request: Request) -> Response:
    """`/{tenant}/oauth2/v2.0/token`."""
    tenant = request.path_params["tenant"]
    form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    if tenant not in (TENANT, TENANT_DOMAIN):
        return refusal(90002, "invalid_request", f"Tenant '{tenant}' not found.")
    if form.get("grant_type") != "client_credentials":
        return refusal(70003, "invalid_request", "The app requested an unsupported grant type.")
    if form.get("scope") != f"{world.endpoint}/.default":
        return refusal(1002012, "invalid_scope", f"The provided value for scope {form.get('scope')} is not valid.")
    if form.get("client_id") != CLIENT:
        return refusal(700016, "unauthorized_client", "Application was not found in the directory.")
    if "client_assertion" in form:
        problem = _assertion_problem(world, form, f"{world.authority}/{tenant}/oauth2/v2.0/token")
    elif "client_secret" in form:
        wrong = form["client_secret"] != world.secret
        problem = refusal(7000215, "invalid_client", "Invalid client secret provided.") if wrong else None
        if not wrong and world.secret_ended:
            problem = refusal(7000222, "invalid_client", f"The provided client secret keys for app '{CLIENT}' are expired.")
    else:
        problem = refusal(7000218, "invalid_client", "The request body must contain 'client_assertion' or 'client_secret'.")
    if problem is not None:
        return problem
    return JSONResponse(
        {
            "token_type": "Bearer", "expires_in": world.token_life, "ext_expires_in": world.token_life,
            "access_token": issue(world, form.get("claims", "")),
        }
    )  # fmt: skip


def issue(world: World, claims: str = "") -> str:
    """An access token for Graph."""
    now = int(time.time())
    content: dict[str, Any] = {
        "aud": world.endpoint, "tid": TENANT, "appid": CLIENT, "oid": PRINCIPAL, "sub": PRINCIPAL, "roles": world.roles, "idtyp": "app",
        "nbf": now, "exp": now + world.token_life, "jti": str(uuid.uuid4()), "claims": claims,
    }  # fmt: skip
    return jwt.encode(content, world.signing_key, "HS256")


def _assertion_problem(world: World, form: dict[str, str], endpoint: str) -> Response | None:
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        return refusal(50027, "invalid_client", "client_assertion_type is missing.")
    assertion = form["client_assertion"]
    try:
        header = jwt.get_unverified_header(assertion)
        issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
    except jwt.InvalidTokenError:
        return refusal(50027, "invalid_client", "JWT token is invalid or malformed.")
    try:
        if issuer == FEDERATION["issuer"]:
            content = jwt.decode(assertion, world.idp_key, ["RS256"], audience=FEDERATION["audience"])
            if content.get("sub") != FEDERATION["subject"]:
                return refusal(700213, "invalid_client", "No matching federated identity record found for presented subject.")
            return None
        key = world.certificates.get(str(header.get("x5t#S256")).rstrip("="))  # MSAL pads it
        if key is None or header.get("alg") != "PS256":
            return refusal(700027, "invalid_client", "The certificate with identifier used to sign is not registered.")
        content = jwt.decode(
            assertion, key, ["PS256"], audience=endpoint, issuer=CLIENT,
            options={"require": ["exp", "nbf", "jti", "sub", "aud", "iss"]},
        )  # fmt: skip
        if content["sub"] != CLIENT or content["exp"] - content["nbf"] > 3600:
            return refusal(700030, "invalid_client", "Invalid certificate assertion.")
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        return refusal(700024, "invalid_client", "Client assertion is not within its valid time range.")
    except jwt.InvalidAudienceError:
        return refusal(700212, "invalid_client", "No matching federated identity record found for presented audience.")
    except jwt.InvalidTokenError:
        return refusal(700027, "invalid_client", "The signature of the assertion is not valid.")
    return None


def thumbprint(der: bytes) -> str:
    """x5t#S256 of a certificate (RFC 7515 4.1.8)."""
    import hashlib

    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
