"""Artifacts of results are checked before the job succeeds where a rule says so (output policy spec §4.3)."""

import json
from pathlib import Path

import nats
import orjson
import pytest
from nats.aio.msg import Msg

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobResult, JobStatus
from cordum.store import keys
from tests.integration.scheduler.test_output_policy import AWS, dispatched, ended, hand_worker
from tests.support.processes import wait_until
from tests.support.stack import POLICY, StackOptions, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RULES = """\
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: files, match: {topics: ["job.*"], artifacts: true, scanners: [secret]}, decision: redact, reason: a secret}
"""


async def test_an_artifact_with_a_secret_quarantines_its_job(tmp_path: Path) -> None:
    heard: dict[str, JobResult] = {}

    async def hear(message: Msg) -> None:
        result = BusPacket.FromString(message.data).job_result
        heard[result.job_id] = result

    environment = {"OUTPUT_POLICY_ENABLED": "true", "OUTPUT_POLICY_FAIL_MODE": "closed"}
    options = StackOptions(policy=POLICY + RULES, environment=environment)
    async with running_stack(tmp_path, options) as stack, hand_worker(stack) as (worker, observer, blobs):
        client = await nats.connect(stack.nats.url)
        await client.subscribe(subjects.ACCEPTED, cb=hear)
        await client.flush()
        seen = await dispatched(stack, observer, ["clean", "bad", "gone"])
        meta = json.dumps({"labels": {"tenant_id": "default"}}).encode()
        await blobs.set_many(
            [
                ("art:clean", b"fine"),
                (keys.artifact_meta("clean"), meta),
                ("art:bad", f"key {AWS}".encode()),
                (keys.artifact_meta("bad"), meta),
            ]
        )
        stack.kernel.kill()
        for dispatch, name in zip(seen, ("clean", "bad", "gone"), strict=True):
            await blobs.set_result(dispatch.job_id, b"done")
            await worker.report(
                dispatch.job_id,
                JobStatus.JOB_STATUS_SUCCEEDED,
                dispatch_id=dispatch.dispatch_id,
                artifact_ptrs=[f"redis://art:{name}"],
            )
        async with stack.store() as jobs:

            async def are_withheld() -> bool:
                found = await jobs.get_many([dispatch.job_id for dispatch in seen])
                return all(record is not None and record.get("withheld") for record in found)

            # Artifacts wait with their result until somebody can look at them.
            await wait_until(are_withheld, timeout_s=30)
        await stack.kernel.start()
        clean, bad, gone = [await ended(stack, dispatch.job_id, timeout_s=60) for dispatch in seen]
        assert clean["state"] == "SUCCEEDED"
        for record, detail in ((bad, "AWS access key id"), (gone, "artifact: invalid pointer")):
            assert record["state"] == "OUTPUT_QUARANTINED"
            output = orjson.loads(record["output_safety"])
            assert (output["reason"], output["findings"][0]["detail"]) == ("a secret", detail)
        await wait_until(lambda: len(heard) == 3)
        told = [list(heard[dispatch.job_id].artifact_ptrs) for dispatch in seen]
        assert told == [["redis://art:clean"], [], []]
        await client.close()
