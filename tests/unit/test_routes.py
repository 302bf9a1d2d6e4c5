"""Whoever goes through the OpenAPI document meets every route there is; tests rely on it."""

from unittest.mock import MagicMock

from starlette.routing import Route, WebSocketRoute

from cordum.gateway.app import _make_api
from tests.support.routes import PROBES, SOCKETS


def test_the_openapi_document_lists_every_route_but_the_probes() -> None:
    app = _make_api(MagicMock())
    listed = {
        (path, method.upper()) for path, methods in app.openapi()["paths"].items() for method in methods
    }
    routes = [route for route in app.router.routes if isinstance(route, Route)]
    registered = {
        (route.path.replace(":path}", "}"), method)
        for route in routes
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert {path for path, _ in registered - listed} == PROBES
    assert listed <= registered
    sockets = {route.path for route in app.router.routes if isinstance(route, WebSocketRoute)}
    assert sockets == SOCKETS
    assert len(routes) + len(sockets) == len(app.router.routes)
