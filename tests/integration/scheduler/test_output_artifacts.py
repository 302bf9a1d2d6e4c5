"""Results that point at artifacts, or come with some, are checked like any other (output policy spec §4.3, §6)."""

import json
from pathlib import Path

import pytest

from cordum.protocol.cap import JobStatus
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.jobs import Record
from tests.integration.scheduler.test_output_policy import (
    AWS,
    OUTPUT_POLICY,
    blob,
    dispatched,
    ended,
    hand_worker,
    options,
)
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WITH_ARTIFACTS = OUTPUT_POLICY + (
    '  - {id: parts, match: {topics: ["job.*"], scanners: [secret], artifacts: true}, decision: quarantine}\n'
)


async def put_artifact(redis: RedisClient, name: str, content: bytes, *, tenant: str, ttl_s: int) -> None:
    metadata = json.dumps({"size_bytes": len(content), "labels": {"tenant_id": tenant}})
    await redis.pipeline(
        [
            ("SET", f"art:{name}", content, "EX", ttl_s),
            ("SET", keys.artifact_meta(name), metadata, "EX", ttl_s),
        ]
    )


async def tenant_of(stack: Stack, job_id: str) -> str:
    async with stack.store() as jobs:
        record = await jobs.get(job_id)
    assert record is not None
    return record["tenant"]


async def test_what_a_result_pointer_names_is_checked_wherever_it_lies(tmp_path: Path) -> None:
    """A clean artifact succeeds, one with a secret is quarantined, one with an address is masked, one of another tenant
    or without content is refused."""
    contents = {
        "clean": b"nothing to see",
        "leak": f"leak {AWS}".encode(),
        "mail": b'{"to": "alice@example.com"}',
        "large": b"x" * 300_000 + f" {AWS}".encode(),
        "foreign": b"of somebody else",
    }
    names = [*contents, "gone"]
    found: dict[str, Record] = {}
    async with (
        running_stack(tmp_path, options()) as stack,
        hand_worker(stack) as (worker, observer, _),
        stack.store() as jobs,
    ):
        seen = dict(zip(names, await dispatched(stack, observer, names), strict=True))
        tenant = await tenant_of(stack, seen["clean"].job_id)
        for name, content in contents.items():
            owner = "somebody" if name == "foreign" else tenant
            await put_artifact(jobs.client, name, content, tenant=owner, ttl_s=86_400)
        for name, dispatch in seen.items():
            await worker.report(
                dispatch.job_id,
                JobStatus.JOB_STATUS_SUCCEEDED,
                dispatch_id=dispatch.dispatch_id,
                result_ptr=f"redis://art:{name}",
            )
        for name in names:
            states = {"OUTPUT_QUARANTINED"} if name == "large" else {"SUCCEEDED", "OUTPUT_QUARANTINED"}
            found[name] = await ended(stack, seen[name].job_id, states=states)
        assert found["clean"]["state"] == "SUCCEEDED"
        assert found["clean"]["result_ptr"] == "redis://art:clean"
        for name in ("leak", "large"):
            safety = json.loads(found[name]["output_safety"])
            assert (found[name]["state"], safety["rule_id"]) == ("OUTPUT_QUARANTINED", "stop")
            assert safety["original_ptr"] == f"redis://art:{name}"
        assert json.loads(found["large"]["output_safety"])["phase"] == "async"
        mail = found["mail"]
        assert mail["state"] == "SUCCEEDED"
        assert mail["result_ptr"].startswith(f"redis://res:{mail['id']}:redacted:")
        copy = await blob(stack, mail["result_ptr"].removeprefix("redis://"))
        assert json.loads(copy) == {"to": "[REDACTED]"}
        for name, why in (("foreign", "invalid pointer"), ("gone", "invalid pointer")):
            safety = json.loads(found[name]["output_safety"])
            assert (found[name]["state"], safety["reason"]) == (
                "OUTPUT_QUARANTINED",
                "output content missing",
            )
            assert [one["detail"] for one in safety["findings"]] == [why]

        async def is_kept() -> bool:
            return int(await jobs.client.execute("TTL", "art:leak")) > 6 * 86_400

        await wait_until(is_kept)
        async with stack.http() as http:
            shown = (await http.get(f"/jobs/{found['clean']['id']}")).json()
            assert shown["result_ptr"] == "redis://art:clean"


async def test_without_a_policy_only_artifacts_of_the_tenant_are_pointed_at(tmp_path: Path) -> None:
    async with (
        running_stack(tmp_path, StackOptions()) as stack,
        hand_worker(stack) as (worker, observer, _),
        stack.store() as jobs,
    ):
        seen = await dispatched(stack, observer, ["own", "foreign"])
        tenant = await tenant_of(stack, seen[0].job_id)
        for dispatch, owner in zip(seen, (tenant, "somebody"), strict=True):
            await put_artifact(jobs.client, dispatch.job_id, b"content", tenant=owner, ttl_s=600)
            await worker.report(
                dispatch.job_id,
                JobStatus.JOB_STATUS_SUCCEEDED,
                dispatch_id=dispatch.dispatch_id,
                result_ptr=f"redis://art:{dispatch.job_id}",
            )
        own, foreign = [await ended(stack, dispatch.job_id) for dispatch in seen]
        assert (own["state"], own["result_ptr"]) == ("SUCCEEDED", f"redis://art:{own['id']}")
        assert foreign["state"] == "SUCCEEDED"
        assert "result_ptr" not in foreign

        async def is_counted() -> bool:
            return await stack.schedulers[0].metric("cordum_scheduler_result_ptr_write_failure_total") == 1

        await wait_until(is_counted)


async def test_artifacts_of_a_result_that_passed_unchecked_are_scanned_later(tmp_path: Path) -> None:
    """Fail mode open while the kernel is away: what lies beside a result, or has none beside it, is scanned."""
    environment = {"OUTPUT_POLICY_ENABLED": "true", "OUTPUT_POLICY_FAIL_MODE": "open"}
    async with (
        running_stack(tmp_path, StackOptions(policy=WITH_ARTIFACTS, environment=environment)) as stack,
        hand_worker(stack) as (worker, observer, blobs),
        stack.store() as jobs,
    ):
        seen = await dispatched(stack, observer, ["beside", "alone"])
        tenant = await tenant_of(stack, seen[0].job_id)
        await put_artifact(jobs.client, "part", f"leak {AWS}".encode(), tenant=tenant, ttl_s=600)
        await blobs.set_result(seen[0].job_id, b"clean")
        stack.kernel.pause()
        for dispatch, pointer in zip(seen, (None, ""), strict=True):
            await worker.report(
                dispatch.job_id,
                JobStatus.JOB_STATUS_SUCCEEDED,
                dispatch_id=dispatch.dispatch_id,
                artifact_ptrs=["redis://art:part"],
                result_ptr=pointer,
            )
        for dispatch in seen:
            assert (await ended(stack, dispatch.job_id))["state"] == "SUCCEEDED"
        stack.kernel.proceed()
        for dispatch in seen:
            record = await ended(stack, dispatch.job_id, timeout_s=60, states={"OUTPUT_QUARANTINED"})
            safety = json.loads(record["output_safety"])
            assert (safety["rule_id"], safety["phase"]) == ("parts", "async")
