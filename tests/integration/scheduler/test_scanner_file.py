"""Patterns of the operator decide about results of a running system and follow their file (output policy §5.4)."""

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.integration.scheduler.test_output_policy import TOPIC, ended, hand_worker, report_one, run
from tests.support.processes import wait_until
from tests.support.stack import POLICY, Stack, StackOptions, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RULES = """\
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: codes, match: {topics: ["job.*"], scanners: [house]}, decision: quarantine, reason: a code name}
"""
FILE = "scanners: {house: {finding_type: custom, patterns: [{name: house_code, regex: 'HOUSE-[0-9]{4}'}]}}\n"


async def refused(stack: Stack) -> float:
    return await stack.kernel.metric("cordum_safety_scanner_file_refused")


async def loads(stack: Stack) -> float:
    return await stack.kernel.metric("cordum_safety_policy_reload_total", result="ok")


async def test_a_pattern_of_the_operator_quarantines_and_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "output_scanners.yaml"
    file.write_text(FILE, "utf-8")
    options = StackOptions(
        policy=POLICY + RULES,
        environment={
            "OUTPUT_POLICY_ENABLED": "true",
            "OUTPUT_POLICY_FAIL_MODE": "closed",
            "OUTPUT_SCANNERS_PATH": str(file),
        },
    )
    async with running_stack(tmp_path, options) as stack:
        await stack.worker(TOPIC, worker_id="w", pool="test")
        await stack.wait_worker_known("w")
        record = await run(stack, "the plan is HOUSE-4711")
        assert record["state"] == "OUTPUT_QUARANTINED"
        output = orjson.loads(record["output_safety"])
        (finding,) = output["findings"]
        assert (finding["type"], finding["scanner"], finding["matched_pattern"], finding["detail"]) == (
            "custom",
            "house",
            "house_code",
            "house_code",
        )
        assert "|scanners:" in output["policy_snapshot"]
        assert (await run(stack, "the plan is HOUSE-ABCD"))["state"] == "SUCCEEDED"

        async with stack.http() as http:
            for name, is_known in (("house", True), ("house_code", True), ("hut", False)):
                rule = f"output_rules: [{{id: a, match: {{scanners: [{name}]}}, decision: redact}}]"
                answer = await http.post("/policy/validate", json={"content": rule})
                assert answer.json()["valid"] is is_known, answer.text
                stored = await http.put("/policy/bundles/secops~x", json={"content": rule})
                assert stored.status_code == (200 if is_known else 400), stored.text
                assert is_known or stored.json()["code"] == "POLICY_VALIDATION_FAILED"

        before = await loads(stack)
        await asyncio.to_thread(file.write_text, FILE.replace("[0-9]", "[A-Z]"), "utf-8")

        async def is_loaded() -> bool:
            return await loads(stack) > before

        await wait_until(is_loaded)
        assert (await run(stack, "the plan is HOUSE-ABCD"))["state"] == "OUTPUT_QUARANTINED"
        assert (await run(stack, "the plan is HOUSE-4711"))["state"] == "SUCCEEDED"

        assert await refused(stack) == 0
        await asyncio.to_thread(file.write_text, FILE.replace("HOUSE-", "(?=HOUSE)"), "utf-8")

        async def is_refused() -> bool:
            return await refused(stack) == 1

        await wait_until(is_refused)
        assert await stack.kernel.metric("cordum_safety_regex_rejected_total") == 1
        assert "scanner file refused, the former content stays" in stack.kernel.tail()
        assert (await run(stack, "the plan is HOUSE-ABCD"))["state"] == "OUTPUT_QUARANTINED"


async def test_what_no_scan_can_finish_is_quarantined_at_once(tmp_path: Path) -> None:
    rule = "{id: hard, match: {content_patterns: ['(?s)BEGIN.*END|BEGIN']}, decision: redact}"
    options = StackOptions(
        policy=POLICY + f"output_policy: {{enabled: true, fail_mode: closed}}\noutput_rules: [{rule}]\n",
        environment={"OUTPUT_POLICY_ENABLED": "true", "OUTPUT_POLICY_FAIL_MODE": "closed"},
    )
    async with running_stack(tmp_path, options) as stack, hand_worker(stack) as (worker, observer, blobs):
        # The second is scanned after its job succeeded.
        for times, phase in ((50_000, "sync"), (300_000, "async")):
            record = await report_one(stack, worker, observer, blobs, b"BEGIN" * times)
            if phase == "async":
                record = await ended(stack, record["id"], states={"OUTPUT_QUARANTINED"})
            assert record["state"] == "OUTPUT_QUARANTINED"
            output = orjson.loads(record["output_safety"])
            assert output["reason"].endswith("output check error — fail-closed: scan budget exceeded")
            assert (output["findings"][0]["type"], output["phase"]) == ("scan_budget_exceeded", phase)
