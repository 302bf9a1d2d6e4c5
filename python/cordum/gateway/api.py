"""Route table: every route names one permission, checked here and never in a handler (gateway spec §6)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import Response

from cordum.domain.errors import Forbidden
from cordum.gateway.state import Gateway
from cordum.security.permissions import PERMISSIONS, is_allowed
from cordum.security.principal import Caller

__all__ = ["ANY", "Api", "Handler", "require"]

PREFIX: Final = "/api/v1"
ANY: Final = ""
"""Permission of routes that every authenticated caller may use."""

Handler = Callable[[Gateway, Caller, Request], Awaitable[Response]]

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "description": "The request was refused; `code` says why",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    },
    503: {
        "description": "A dependency did not answer; try again",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    },
}


def require(caller: Caller, permission: str) -> None:
    """Raise Forbidden unless the caller's role holds ``permission``."""
    if permission and not is_allowed(caller.role, permission):
        raise Forbidden("access denied", code="access_denied")


class Api:
    """Adds routes to the application together with their OpenAPI entries."""

    def __init__(self, app: FastAPI, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    def add(
        self,
        method: str,
        path: str,
        permission: str,
        handler: Handler,
        *,
        summary: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        body_required: bool = True,
        success: int = 200,
        tags: Sequence[str] = (),
    ) -> None:
        """Register one route; ``query`` maps parameter names to descriptions, ``body`` is a JSON Schema."""
        if permission and permission not in PERMISSIONS:
            raise ValueError(f"unknown permission `{permission}`")
        extra: dict[str, Any] = {"x-permission": permission or "any"}
        if query:
            extra["parameters"] = [
                {
                    "name": name,
                    "in": "query",
                    "required": False,
                    "schema": {"type": "string"},
                    "description": text,
                }
                for name, text in query.items()
            ]
        if body is not None:
            content = {"application/json": {"schema": dict(body)}}
            extra["requestBody"] = {"required": body_required, "content": content}
        parameters = [part[1:-1].removesuffix(":path") for part in path.split("/") if part.startswith("{")]
        extra.setdefault("parameters", []).extend(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        )
        self._app.add_api_route(
            PREFIX + path,
            _endpoint(self._gateway, permission, handler),
            methods=[method],
            summary=summary,
            status_code=success,
            tags=list(tags) or [path.split("/")[1]],
            openapi_extra=extra,
            responses=_ERRORS,
            response_class=Response,
            response_model=None,
            operation_id=_operation_id(method, path),
        )


def _endpoint(
    gateway: Gateway, permission: str, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        caller: Caller = request.scope["caller"]
        require(caller, permission)
        return await handler(gateway, caller, request)

    return endpoint


def _operation_id(method: str, path: str) -> str:
    words = (
        path.replace("{", "").replace(":path}", "").replace("}", "").strip("/").replace("-", "_").split("/")
    )
    return "_".join([method.lower(), *words])
