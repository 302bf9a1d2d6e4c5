"""The HTTP application: routes, middleware, OpenAPI (gateway spec §3)."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request, WebSocket
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from cordum.domain.errors import CordumError
from cordum.gateway.api import Api
from cordum.gateway.errors import error_response, status_response
from cordum.gateway.middleware import AccessLog, Authentication, RequestFrame
from cordum.gateway.routes.approvals import add_approval_routes
from cordum.gateway.routes.audit import add_audit_routes
from cordum.gateway.routes.audit_events import add_audit_event_routes
from cordum.gateway.routes.config import add_config_routes
from cordum.gateway.routes.dlq import add_dlq_routes
from cordum.gateway.routes.health import add_health_routes
from cordum.gateway.routes.jobs import SUBMIT_PATH, SubmitRoute, add_job_routes
from cordum.gateway.routes.locks import add_lock_routes
from cordum.gateway.routes.policy import add_policy_routes
from cordum.gateway.routes.policy_analysis import add_analysis_routes
from cordum.gateway.routes.policy_bundles import add_bundle_routes
from cordum.gateway.routes.policy_global import add_global_routes
from cordum.gateway.routes.policy_output import add_output_policy_routes
from cordum.gateway.routes.policy_rules import add_rule_routes
from cordum.gateway.routes.pools import add_pool_routes
from cordum.gateway.routes.quarantine import add_quarantine_routes
from cordum.gateway.routes.replay import add_replay_routes
from cordum.gateway.routes.schemas import add_schema_routes
from cordum.gateway.routes.stream import add_stream_routes
from cordum.gateway.routes.topics import add_topic_routes
from cordum.gateway.routes.velocity_rules import add_velocity_routes
from cordum.gateway.routes.worker_credentials import add_credential_routes
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


def make_app(gateway: Gateway, access_log: AccessLog) -> ASGIApp:
    """Return the application of one gateway, its frame outermost."""
    submit = SubmitRoute(gateway)
    routed = _HotRoutes(_make_api(gateway), submit)
    return RequestFrame(Authentication(routed, gateway.auth), gateway.settings, access_log)


class _HotRoutes:
    """Serves the submit route before the framework: its layers cost more than the route itself."""

    def __init__(self, app: ASGIApp, submit: SubmitRoute) -> None:
        self._app = app
        self._submit = submit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_submit = scope["path"] == SUBMIT_PATH and scope.get("method") == "POST"
        await (self._submit if is_submit else self._app)(scope, receive, send)


def _make_api(gateway: Gateway) -> FastAPI:
    app = FastAPI(
        title="Cordum",
        version=version("cordum"),
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    api = Api(app, gateway)
    add_job_routes(api)
    add_approval_routes(api)
    add_dlq_routes(api)
    add_lock_routes(api)
    add_credential_routes(api)
    add_worker_routes(api)
    add_topic_routes(api)
    add_pool_routes(api)
    add_schema_routes(api)
    add_policy_routes(api)
    add_analysis_routes(api)
    add_bundle_routes(api)
    add_audit_routes(api)
    add_audit_event_routes(api)
    add_config_routes(api)
    add_rule_routes(api)
    add_output_policy_routes(api)
    add_quarantine_routes(api)
    add_global_routes(api)
    add_velocity_routes(api)
    add_replay_routes(api)
    add_stream_routes(app, api, gateway)
    add_health_routes(app, api, gateway)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(CordumError, _answer)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _fail)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _answer(connection: Request | WebSocket, error: Exception) -> Response | None:
    """Answer one of our errors; an upgrade is refused as plain HTTP, before it is accepted."""
    if not isinstance(error, CordumError):
        raise error
    response = error_response(error, connection.scope["cordum.request_id"])
    if isinstance(connection, WebSocket):
        await connection.send_denial_response(response)
        return None
    return response


async def _fail(request: Request, _error: Exception) -> Response:
    """Answer an accident; the frame logs it."""
    return status_response(500, request.scope["cordum.request_id"])


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
