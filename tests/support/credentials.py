"""Credentials of workers in a test's store, and the notice that they changed."""

from functools import cache
from typing import Any

from nats.aio.client import Client

from cordum.domain.worker_credentials import WorkerCredential
from cordum.gateway.packets import config_changed
from cordum.protocol import subjects
from cordum.security.worker_tokens import hash_token
from cordum.store.config_documents import ConfigDocuments, Document
from cordum.store.connection import RedisClient
from cordum.store.worker_credentials import WORKERS_DOCUMENT

TOKEN = "0123456789abcdef" * 4
OTHER_TOKEN = "fedcba9876543210" * 4
NOW = "2026-01-05T10:00:00Z"


@cache
def hash_of(token: str) -> str:
    """Return one hash per token: making them takes a while."""
    return hash_token(token)


async def store_credential(
    redis: RedisClient, client: Client | None, worker_id: str, token: str = TOKEN, **members: Any
) -> None:
    """Write the credential of a worker and tell everybody."""
    credential = WorkerCredential(
        worker_id, credential_hash=hash_of(token), created_by="test", created_at=NOW, **members
    )

    def change(found: Document) -> dict[str, Any]:
        return {**found.data, worker_id: credential.record()}

    await ConfigDocuments(redis).update(*WORKERS_DOCUMENT, change, updated_at=NOW, tries=32)
    if client is not None:
        await client.publish(subjects.CONFIG_CHANGED, config_changed(*WORKERS_DOCUMENT))
        await client.flush()
