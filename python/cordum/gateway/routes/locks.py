"""Locks of the system, for administrators (gateway spec §21)."""

from fastapi import Request
from starlette.responses import Response

from cordum.gateway.admin_locks import list_locks
from cordum.gateway.api import Api
from cordum.gateway.http import json_reply
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller

__all__ = ["add_lock_routes"]


def add_lock_routes(api: Api) -> None:
    """Register the routes."""
    api.add("GET", "/admin/locks", "admin.*", list_all, summary="List the locks the system holds")


async def list_all(gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    """List the locks the system holds now."""
    return json_reply({"locks": await list_locks(gateway.redis)})
