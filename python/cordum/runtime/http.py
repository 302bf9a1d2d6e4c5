"""An HTTP listener inside the service's event loop: bind first, serve later, stop on request."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from cordum.domain.errors import Unavailable

__all__ = ["HttpListener", "bind_socket"]


def bind_socket(host: str, port: int, backlog: int = 2048) -> socket.socket:
    """Return a listening TCP socket (port 0: any free one). Raises Unavailable naming address and reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        number = error.errno or 0
        reason = (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()
        raise Unavailable(
            f"cannot listen on `{host}:{port}`: {reason}", code="listen_failed", hint="choose another port"
        ) from error
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """Signals belong to the service, not to its listeners."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpListener:
    """Serves one ASGI application on one address. Extra keywords go to ``uvicorn.Config``."""

    def __init__(self, app: Any, host: str, port: int, **options: Any) -> None:
        self._socket = bind_socket(host, port)
        settings: dict[str, Any] = {
            "log_config": None,
            "access_log": False,
            "lifespan": "off",
            "server_header": False,
            "timeout_graceful_shutdown": 10,
            **options,
        }
        self._server = _Server(uvicorn.Config(app, **settings))

    @property
    def port(self) -> int:
        """Return the bound port."""
        return int(self._socket.getsockname()[1])

    async def serve(self) -> None:
        """Serve until ``stop``; connections queue from the moment of construction."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Stop accepting; ``serve`` returns once open requests are answered. Safe to call twice."""
        self._server.should_exit = True
