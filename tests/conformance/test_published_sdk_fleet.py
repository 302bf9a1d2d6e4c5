"""The published `cordum-sdk`, unchanged, reads and writes topics, schemas and pools (gateway spec §13, §18–§20)."""

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from cordum_sdk._generated.api.pools import (
    add_topic_to_pool,
    create_pool,
    delete_pool,
    drain_pool,
    get_pool,
    list_pools,
    remove_topic_from_pool,
    update_pool,
)
from cordum_sdk._generated.api.schemas import create_schema, delete_schema, get_schema
from cordum_sdk._generated.api.topics import create_topic, delete_topic, list_topics
from cordum_sdk._generated.client import AuthenticatedClient
from cordum_sdk._generated.models.create_pool_body import CreatePoolBody
from cordum_sdk._generated.models.create_topic_body import CreateTopicBody
from cordum_sdk._generated.models.drain_pool_body import DrainPoolBody
from cordum_sdk._generated.models.schema_record import SchemaRecord
from cordum_sdk._generated.models.update_pool_body import UpdatePoolBody

from tests.support.stack import API_KEY, Stack

pytestmark = pytest.mark.slow

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
async def call(stack: Stack) -> AsyncIterator[Call]:
    """Return a function that runs an operation with an admin's key and returns what the client made of the answer."""
    opened = AuthenticatedClient(stack.http_url, API_KEY, prefix="", auth_header_name="X-API-Key")

    async def run(operation: ModuleType, *path: str, status: int = 200, **more: Any) -> Any:
        answer = await operation.asyncio_detailed(*path, client=opened, x_tenant_id="default", **more)
        assert answer.status_code == status, answer.content
        return answer.parsed

    async with opened:
        yield run


async def test_pools_topics_and_schemas_go_there_and_back(call: Call, stack: Stack) -> None:
    body = CreatePoolBody.from_dict({"requires": ["ocr"], "description": "scanners"})
    made = await call(create_pool, "sdk-pool", body=body, status=201)
    assert (made.name, made.status, made.requires) == ("sdk-pool", "active", ["ocr"])
    worker = await stack.worker("job.test.sdk", pool="sdk-pool", worker_id="sdk-worker")
    try:
        await stack.wait_worker_known("sdk-worker")
        schema = {"type": "object", "required": ["context"]}
        record = SchemaRecord.from_dict({"id": "sdk-in", "schema": schema})
        await call(create_schema, body=record, status=204)
        assert (await call(get_schema, "sdk-in")).schema.to_dict() == schema
        wanted = {"name": "job.test.sdk", "pool": "sdk-pool", "input_schema_id": "sdk-in"}
        topic = await call(create_topic, body=CreateTopicBody.from_dict(wanted), status=201)
        assert (topic.name, topic.status, topic.active_worker_count) == ("job.test.sdk", "active", 1)
        listed = await call(list_topics)
        assert "job.test.sdk" in [item.name for item in listed.items]
        assert listed.registry_empty is False
        await call(add_topic_to_pool, "sdk-pool", "job.test.sdk.more", status=204)
        detail = await call(get_pool, "sdk-pool")
        assert [one.worker_id for one in detail.workers] == ["sdk-worker"]
        assert detail.topics == ["job.test.sdk", "job.test.sdk.more"]
        assert "sdk-pool" in [item.name for item in (await call(list_pools)).items]
        await call(remove_topic_from_pool, "sdk-pool", "job.test.sdk.more", status=204)
        body = DrainPoolBody.from_dict({"timeout_seconds": 9})
        drained = await call(drain_pool, "sdk-pool", body=body)
        assert (drained.status, drained.drain_timeout_seconds) == ("draining", 9)
        assert isinstance(drained.drain_started_at, datetime.datetime)
        body = UpdatePoolBody.from_dict({"status": "inactive"})
        assert (await call(update_pool, "sdk-pool", body=body)).status == "inactive"
    finally:
        worker.kill()
        await call(delete_topic, "job.test.sdk", status=204)
        await call(delete_schema, "sdk-in", status=204)
        await call(delete_pool, "sdk-pool", force=True, status=204)
    assert "sdk-pool" not in [item.name for item in (await call(list_pools)).items]
