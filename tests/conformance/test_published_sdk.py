"""The published `cordum-sdk`, unchanged, reads what the policy routes answer (policy spec §24)."""

import asyncio
import datetime
from collections.abc import Iterator

import pytest
from cordum_sdk import CordumClient
from cordum_sdk._generated.models.output_rule import OutputRule
from cordum_sdk._generated.models.simulate_policy_bundle_body import SimulatePolicyBundleBody
from cordum_sdk._generated.models.velocity_rule import VelocityRule

from tests.support.stack import API_KEY, Stack

pytestmark = pytest.mark.slow

RULE = {
    "id": "sdk-burst",
    "name": "Bursts",
    "match": {"topics": ["job.sdk"]},
    "window": "5m",
    "key": "tenant",
    "threshold": 3,
    "decision": "throttle",
    "reason": "slower",
}
DENY = "rules: [{id: sdk-never, match: {topics: [job.guard]}, decision: deny}]"


@pytest.fixture
def sdk(stack: Stack) -> Iterator[CordumClient]:
    """The client with an admin's key."""
    with CordumClient(stack.http_url, API_KEY, tenant_id="default") as opened:
        yield opened


async def test_velocity_rules_are_written_read_back_and_deleted(sdk: CordumClient) -> None:
    created = await asyncio.to_thread(sdk.policies.create_velocity_rule, body=VelocityRule.from_dict(RULE))
    try:
        assert (created.id, created.window, created.enabled) == ("sdk-burst", "5m0s", True)
        assert isinstance(created.created_at, datetime.datetime)
        listed = await asyncio.to_thread(sdk.policies.list_velocity_rules)
        assert created in listed.items
        assert listed.count == len(listed.items)
        # What was read is written back as it is, times and all.
        created.threshold = 4
        changed = await asyncio.to_thread(sdk.policies.update_velocity_rule, "sdk-burst", body=created)
        assert (changed.threshold, changed.created_at) == (4, created.created_at)
        stats = await asyncio.to_thread(sdk.policies.get_velocity_rule_stats)
        assert [stat.id for stat in stats.items] == [rule.id for rule in listed.items]
        assert isinstance(stats.generated_at, datetime.datetime)
    finally:
        await asyncio.to_thread(sdk.policies.delete_velocity_rule, "sdk-burst")
    assert (await asyncio.to_thread(sdk.policies.list_velocity_rules)).count == 0


async def test_rules_are_read_with_their_source(sdk: CordumClient) -> None:
    listed = await asyncio.to_thread(sdk.policies.list_policy_rules, include_disabled=True)
    rules = {rule.id: rule for rule in listed.items}
    assert rules["guard-delete"].enabled is True
    assert rules["guard-delete"]["decision"] == "deny"


async def test_output_rules_are_written_and_output_checks_are_counted(sdk: CordumClient) -> None:
    rule = OutputRule.from_dict(
        {
            "name": "Ticket numbers",
            "scanner_type": "regex",
            "pattern": "ticket-[0-9]{6}",
            "action": "REDACT",
            "config": {"topics": ["job.sdk.nothing"]},
        }
    )
    written = await asyncio.to_thread(sdk.policies.upsert_output_rule, "sdk-tickets", body=rule)
    assert (written.id, written.pattern, written.enabled) == ("sdk-tickets", "ticket-[0-9]{6}", True)
    assert written["bundle_id"] == "secops/global-output"
    # What was answered is written back as it is, but for the switch.
    written.enabled = False
    again = await asyncio.to_thread(sdk.policies.upsert_output_rule, "sdk-tickets", body=written)
    assert (again.action, again.enabled) == (written.action, False)
    stats = await asyncio.to_thread(sdk.policies.get_output_policy_stats)
    assert (stats.total_checks_24h, stats.quarantined_24h) >= (0, 0)
    assert isinstance(stats.last_check_at, datetime.datetime)


async def test_a_bundle_is_simulated_by_its_raw_id(sdk: CordumClient) -> None:
    body = SimulatePolicyBundleBody.from_dict({"request": {"topic": "job.guard"}, "content": DENY})
    answer = await asyncio.to_thread(sdk.policies.simulate_policy_bundle, "secops/invariants", body=body)
    assert answer.decision.value == "DENY"
    assert answer.rule_id == "sdk-never"
