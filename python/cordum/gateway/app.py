"""The HTTP application: routes, middleware, OpenAPI (gateway spec §3)."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from cordum.gateway.api import Api
from cordum.gateway.errors import status_response
from cordum.gateway.middleware import AccessLog, Authentication, RequestFrame
from cordum.gateway.routes.approvals import add_approval_routes
from cordum.gateway.routes.dlq import add_dlq_routes
from cordum.gateway.routes.health import add_health_routes
from cordum.gateway.routes.jobs import SubmitRoute, add_job_routes
from cordum.gateway.routes.stream import add_stream_routes
from cordum.gateway.routes.workers import add_worker_routes
from cordum.gateway.state import Gateway

__all__ = ["make_app"]

_ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error", "code", "status", "request_id"],
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "status": {"type": "integer"},
        "request_id": {"type": "string"},
    },
}


def make_app(gateway: Gateway, access_log: AccessLog) -> FastAPI:
    """Return the application of one gateway."""
    app = FastAPI(
        title="Cordum",
        version=version("cordum"),
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.routes.append(SubmitRoute(gateway).route())
    api = Api(app, gateway)
    add_job_routes(api)
    add_approval_routes(api)
    add_dlq_routes(api)
    add_worker_routes(api)
    add_stream_routes(app, api, gateway)
    add_health_routes(app, api, gateway)
    app.add_exception_handler(HTTPException, _refuse)
    # Added last runs first: the frame is the outermost.
    app.add_middleware(Authentication, authenticator=gateway.auth)
    app.add_middleware(RequestFrame, settings=gateway.settings, access_log=access_log)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: unknown paths and wrong methods."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = {"Allow": _allowed_methods(request)} if status == 405 else {}
    return status_response(status, request.scope["cordum.request_id"], headers)


def _allowed_methods(request: Request) -> str:
    methods: set[str] = set()
    for route in request.app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {})["Error"] = _ERROR_SCHEMA
        components["securitySchemes"] = {
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        schema["security"] = [{"apiKey": []}, {"bearer": []}]
        app.openapi_schema = schema
    return app.openapi_schema
