"""Worker credentials: list, issue or rotate, revoke (gateway spec §17)."""

from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import Forbidden, InvalidInput
from cordum.domain.worker_credentials import PROOF_ALGORITHM, WorkerCredential
from cordum.gateway.api import Api
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.state import Gateway
from cordum.gateway.worker_credentials import CredentialRequest
from cordum.security.principal import Caller

__all__ = ["add_credential_routes"]

_BODY_BYTES: Final = 64 * 1024
_ID_MAX: Final = 256
_LIST_MAX: Final = 100
_ITEM_MAX: Final = 128
_PEM_MAX: Final = 4 * 1024
_TEXTS: Final = {"type": "array", "items": {"type": "string", "maxLength": _ITEM_MAX}, "maxItems": _LIST_MAX}
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["worker_id"],
    "properties": {
        "worker_id": {"type": "string", "minLength": 1, "maxLength": _ID_MAX},
        "tenant_id": {"type": "string"},
        "allowed_pools": _TEXTS,
        "allowed_topics": _TEXTS,
        "agent_id": {"type": "string"},
        "pack_id": {"type": "string"},
        "proof_key_id": {"type": "string"},
        "proof_algorithm": {"type": "string", "enum": [PROOF_ALGORITHM]},
        "proof_public_key_pem": {"type": "string"},
    },
}


def add_credential_routes(api: Api) -> None:
    """Register the routes; before those of single workers, whose paths would match too."""
    path = "/workers/credentials"
    api.add("GET", path, "workerCredentials.read", list_all, summary="List worker credentials")
    api.add(
        "POST",
        path,
        "workerCredentials.write",
        issue,
        summary="Issue or rotate the credential of a worker",
        body=_BODY,
        success=201,
    )
    api.add(
        "DELETE",
        f"{path}/{{worker_id}}",
        "workerCredentials.write",
        revoke,
        summary="Revoke the credential of a worker",
        success=204,
    )


async def list_all(gateway: Gateway, caller: Caller, _request: Request) -> Response:
    """List credentials, revoked ones too; tokens and their hashes are never shown."""
    return json_reply({"items": [_view(one) for one in await gateway.credentials.visible(caller)]})


async def issue(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Answer 201 for a worker's first credential, 200 for a new one; the token appears here only."""
    issued = await gateway.credentials.issue(
        _request(await json_object(request, _BODY_BYTES), caller), caller
    )
    return json_reply({**_view(issued.credential), "token": issued.token}, 201 if issued.is_new else 200)


async def revoke(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Revoke one; doing so again changes nothing."""
    await gateway.credentials.revoke(request.path_params["worker_id"], caller)
    return Response(status_code=204)


def _view(credential: WorkerCredential) -> dict[str, Any]:
    shown = credential.record()
    del shown["credential_hash"]
    always = {"worker_id", "allowed_pools", "allowed_topics", "created_by", "created_at"}
    return {name: value for name, value in shown.items() if value or name in always}


def _request(body: dict[str, Any], caller: Caller) -> CredentialRequest:
    worker_id = _text(body, "worker_id")
    if not worker_id or not _is_identity(worker_id):
        raise _invalid("worker_id", f"expected 1 to {_ID_MAX} printable ASCII characters without blanks")
    tenant = _text(body, "tenant_id") or caller.tenant
    if tenant != caller.tenant and not caller.cross_tenant:
        raise Forbidden("tenant access denied", code="tenant_access_denied")
    key_id = _text(body, "proof_key_id")
    if key_id and not _is_identity(key_id):
        raise _invalid(
            "proof_key_id", f"expected at most {_ID_MAX} printable ASCII characters without blanks"
        )
    algorithm = _text(body, "proof_algorithm")
    if algorithm and algorithm != PROOF_ALGORITHM:
        raise _invalid("proof_algorithm", f"expected `{PROOF_ALGORITHM}`")
    return CredentialRequest(
        worker_id,
        tenant,
        _list(body, "allowed_pools"),
        _list(body, "allowed_topics"),
        _text(body, "pack_id"),
        _text(body, "agent_id"),
        key_id,
        _text(body, "proof_public_key_pem", _PEM_MAX),
    )


def _text(body: dict[str, Any], name: str, limit: int = _ID_MAX) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit:
        raise _invalid(name, f"expected a text of at most {limit} characters")
    return value.strip()


def _list(body: dict[str, Any], name: str) -> tuple[str, ...] | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _LIST_MAX:
        raise _invalid(name, f"expected a list of at most {_LIST_MAX} texts")
    if not all(isinstance(item, str) and len(item) <= _ITEM_MAX for item in value):
        raise _invalid(name, f"expected texts of at most {_ITEM_MAX} characters")
    return tuple(sorted({item.strip() for item in value} - {""}))


def _is_identity(text: str) -> bool:
    """What the published worker accepts as an id: 1 to 256 characters from `!` to `~`."""
    return len(text) <= _ID_MAX and all("!" <= character <= "~" for character in text)


def _invalid(field: str, expectation: str) -> InvalidInput:
    return InvalidInput(f"{field}: {expectation}", code="WORKER_CRED_BINDING_INVALID", field=field)
