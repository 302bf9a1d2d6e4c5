"""Garbage, duplicates and lies on the bus change nothing that counts."""

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobProgress
from cordum.store.blobs import BlobStore
from cordum.store.dlq import DeadLetterStore
from tests.faults.field import Field, fault_field
from tests.support.hand_worker import HandWorker
from tests.support.observer import pending_of
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions
from tests.support.submitting import submit_packet

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(120)]

_DURABLE = (subjects.SUBMIT, subjects.RESULT)
_CORE = (
    subjects.HEARTBEAT,
    subjects.HANDSHAKE,
    subjects.PROGRESS,
    subjects.CANCEL,
    subjects.CONFIG_CHANGED,
    subjects.ALERT,
    subjects.WORKFLOW_EVENT,
)
_RUNNING, _SUCCEEDED, _FAILED, _CANCELLED = 4, 5, 6, 7


def _undecodable() -> list[bytes]:
    """Bytes no reader of packets accepts."""
    whole = submit_packet("6b1f4c50-0000-4000-8000-000000000001")
    return [b"", b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", whole[:-7], b"{}" + os.urandom(64_000)]


def _refused() -> list[bytes]:
    """Packets that decode and break a rule: a foreign payload, another version, no topic."""
    progress = BusPacket(
        trace_id="t", sender_id="s", protocol_version=1, job_progress=JobProgress(job_id="x")
    )
    newer = BusPacket.FromString(submit_packet("6b1f4c50-0000-4000-8000-000000000002"))
    newer.protocol_version = 2
    topicless = BusPacket.FromString(submit_packet("6b1f4c50-0000-4000-8000-000000000003"))
    topicless.job_request.topic = ""
    return [p.SerializeToString() for p in (progress, newer, topicless)]


async def _total(stack: Stack, name: str, **labels: str) -> float:
    return sum([await scheduler.metric(name, **labels) for scheduler in stack.schedulers])


async def test_garbage_on_every_subject_is_counted_and_buried_while_jobs_keep_flowing(tmp_path: Path) -> None:
    async with fault_field(tmp_path, StackOptions(schedulers=2)) as field:
        for subject in (*_DURABLE, *_CORE, subjects.DLQ, "job.test.echo", "worker.w-1.jobs"):
            for payload in (*_undecodable(), *_refused()):
                await field.client.publish(subject, payload)
        await field.client.flush()
        buried = len(_DURABLE) * len(_undecodable())

        await field.submitter.submit(200)
        await field.all_run()
        assert await _total(field.stack, "cordum_bus_poison_total") < buried, (
            "the jobs waited for the garbage"
        )

        async def all_buried() -> bool:
            return await _total(field.stack, "cordum_bus_poison_total") >= buried

        await wait_until(all_buried, timeout_s=40, interval_s=0.5)
        refused = await _total(field.stack, "cordum_validation_rejections_total")
        assert refused >= len(_DURABLE) * len(_refused())
        for subject in (subjects.HEARTBEAT, subjects.PROGRESS, subjects.CANCEL):
            name = "cordum_bus_invalid_packets_total"
            assert await _total(field.stack, name, subject_class=subject) > 0, subject
        await _expect_poison_letters(field, buried)
        await field.submitter.submit(20)
        await field.verdict(timeout_s=40)
        assert await field.states() == {"SUCCEEDED": 220}


async def _expect_poison_letters(field: Field, buried: int) -> None:
    letters, _ = await DeadLetterStore(field.jobs).page(None, limit=500)
    poison = [letter for letter in letters if letter["reason_code"] == "poison_message"]
    on_durable = [letter for letter in poison if letter["subject"] in _DURABLE]
    assert len(on_durable) == buried
    assert {letter["attempts"] for letter in on_durable} == {4}
    assert all(letter["job_id"].startswith("poison:CORDUM_SYS:") and "raw" in letter for letter in on_durable)


async def test_duplicated_submits_run_each_job_once(tmp_path: Path) -> None:
    async with fault_field(tmp_path, StackOptions(schedulers=2, gateway=False)) as field:
        ids = await field.submitter.prepare(300)
        await _publish_submits(field, [job_id for job_id in ids for _ in range(3)])
        await _publish_submits(field, ids)
        await field.observer.reach(len(ids))
        await field.verdict(timeout_s=20)
        await _publish_submits(field, ids)
        evidence = await field.verdict(timeout_s=20)
        assert len(evidence.stored) == len(evidence.handled) == len(ids)
        assert await field.states() == {"SUCCEEDED": len(ids)}


async def _publish_submits(field: Field, ids: Sequence[str]) -> None:
    """Publish without a message id, so that the stream keeps every copy."""
    for job_id in ids:
        await field.client.publish(subjects.SUBMIT, submit_packet(job_id))
    await field.client.flush()


async def test_foreign_late_and_repeated_results_never_change_an_outcome(tmp_path: Path) -> None:
    # Nobody but this test works, so nothing may time out while it does.
    options = StackOptions(schedulers=2, gateway=False, dispatch_timeout_s=120)
    async with fault_field(tmp_path, options, workers=0) as field:
        worker = HandWorker(field.client, BlobStore(field.jobs.client, 600), "hand", "test")
        await worker.announce("job.test.echo")
        ids = await field.submitter.submit(20)
        await field.observer.reach(len(ids))
        dispatches = {dispatch.job_id: dispatch for dispatch in field.observer.dispatches}

        for job_id in ids:
            await worker.report(job_id, _SUCCEEDED, dispatch_id=f"{job_id}:1:deadbeef")
            await worker.report(job_id, _FAILED, worker_id="somebody-else")
            await worker.report(f"{job_id[:-4]}ffff", _SUCCEEDED)
        await _all_read(field)
        assert await field.states() == {"DISPATCHED": len(ids)}

        for number, job_id in enumerate(ids):
            own = dispatches[job_id].dispatch_id
            await worker.work(dispatches[job_id])
            first, second = (_SUCCEEDED, _FAILED) if number % 2 else (_FAILED, _SUCCEEDED)
            await worker.report(job_id, first, dispatch_id=own, copies=3)
            await worker.report(job_id, second, dispatch_id=own)
            await worker.report(job_id, _CANCELLED)
        await field.verdict(timeout_s=20, by_hand=[worker])
        after = await field.states()
        for job_id in ids:
            await worker.report(job_id, _SUCCEEDED, dispatch_id=dispatches[job_id].dispatch_id)
        await _all_read(field)
        await field.verdict(timeout_s=20, by_hand=[worker])
        assert await field.states() == after
        assert await _total(field.stack, "cordum_scheduler_unknown_results_total") == len(ids)


async def _all_read(field: Field) -> None:
    async def read() -> bool:
        return await pending_of(field.stack.nats.url, subjects.STREAM_SYS) == 0

    await wait_until(read)


async def test_messages_in_any_order_end_each_job_once_with_what_its_worker_said(tmp_path: Path) -> None:
    options = StackOptions(schedulers=2, gateway=False, dispatch_timeout_s=120, running_timeout_s=120)
    async with fault_field(tmp_path, options, workers=0) as field:
        worker = HandWorker(field.client, BlobStore(field.jobs.client, 600), "hand", "test")
        await worker.announce("job.test.echo")
        ids = await field.submitter.prepare(30)
        early = BusPacket(trace_id="t", sender_id="s", protocol_version=1)
        for job_id in ids[:10]:
            # Nobody knows these jobs yet.
            early.job_cancel.job_id = job_id
            await field.client.publish(subjects.CANCEL, early.SerializeToString())
            await worker.report(job_id, _RUNNING)
        await _all_read(field)
        copies = [*ids, *ids, *ids]
        random.shuffle(copies)
        await _publish_submits(field, copies)
        await field.observer.reach(len(ids), timeout_s=60)
        dispatches = {dispatch.job_id: dispatch for dispatch in field.observer.dispatches}

        for number, job_id in enumerate(ids):
            own = dispatches[job_id].dispatch_id
            await worker.work(dispatches[job_id])
            reports = [_RUNNING, _SUCCEEDED] if number % 2 else [_SUCCEEDED, _RUNNING]
            for status in reports:
                await worker.report(job_id, status, dispatch_id=own, copies=2)
            await field.client.publish(subjects.SUBMIT, submit_packet(job_id))
        await field.verdict(timeout_s=60, by_hand=[worker])
        assert await field.states() == {"SUCCEEDED": len(ids)}
