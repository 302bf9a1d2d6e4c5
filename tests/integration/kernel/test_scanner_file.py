"""The scanner file of a kernel: read with the policy, refused with faults, in the snapshot (output policy §5.4)."""

from pathlib import Path

import pytest

from cordum._core import check_outputs
from cordum.config.kernel import KernelSettings
from cordum.kernel.snapshots import PolicyStore
from cordum.kernel.source import FileSource
from cordum.v1.output_policy_pb2 import OutputCheckRequest, OutputCheckResponse, OutputDecision
from cordum.v1.safety_batch_pb2 import BatchRequest, BatchResponse

POLICY = """\
version: "1"
output_rules:
  - {id: codes, match: {scanners: [house]}, decision: quarantine}
"""
FILE = "version: v1\nscanners: {house: {patterns: [{name: house_code, regex: 'HOUSE-[0-9]{4}'}]}}\n"


class Store:
    """A policy store with its two files."""

    def __init__(self, folder: Path) -> None:
        self.policy, self.file = folder / "safety.yaml", folder / "output_scanners.yaml"
        self.policy.write_text(POLICY)
        settings = KernelSettings(policy_path=str(self.policy), output_scanners_path=str(self.file))
        self.policies = PolicyStore(FileSource(str(self.policy), 10_000), settings=settings)

    def decide(self, text: str) -> tuple[int, list[tuple[str, str]]]:
        """Return the decision about a result, and scanner and pattern of the findings."""
        request = OutputCheckRequest(job_id="j", topic="job.a", output_content=text.encode())
        batch = BatchRequest(requests=[request.SerializeToString()]).SerializeToString()
        answer = BatchResponse.FromString(check_outputs(self.policies.engine, batch))
        response = OutputCheckResponse.FromString(answer.items[0].response)
        return response.decision, [(one.scanner, one.matched_pattern) for one in response.findings]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


async def test_rules_name_scanners_of_the_file_and_follow_its_changes(store: Store) -> None:
    store.file.write_text(FILE)
    assert await store.policies.reload() == "ok"
    first = store.policies.engine.snapshot
    assert "|scanners:" in first
    assert store.decide("HOUSE-4711") == (
        OutputDecision.OUTPUT_DECISION_QUARANTINE,
        [("house", "house_code")],
    )
    assert store.decide("HOUSE-X")[0] == OutputDecision.OUTPUT_DECISION_ALLOW
    assert await store.policies.reload() == "unchanged"
    store.file.write_text(FILE.replace("[0-9]{4}", "[A-Z]"))
    assert await store.policies.reload() == "ok"
    assert store.policies.engine.snapshot != first
    assert store.decide("HOUSE-X")[0] == OutputDecision.OUTPUT_DECISION_QUARANTINE


async def test_a_file_with_faults_changes_nothing(store: Store) -> None:
    store.file.write_text(FILE)
    assert await store.policies.reload() == "ok"
    for broken in ("scanners: [", FILE.replace("HOUSE-", "(?=HOUSE)"), "scanners: {house: {pattern: 1}}"):
        store.file.write_text(broken)
        assert await store.policies.reload() == "unchanged"
        assert store.decide("HOUSE-4711")[0] == OutputDecision.OUTPUT_DECISION_QUARANTINE


async def test_a_policy_that_names_what_no_file_defines_is_refused(store: Store) -> None:
    assert await store.policies.reload() == "error"
    assert 'unknown scanner "house"' in str(store.policies.failure)
    assert not store.policies.is_loaded
    store.file.write_text("scanners: [")
    assert await store.policies.reload() == "error"
    store.file.write_text(FILE)
    assert await store.policies.reload() == "ok"
    store.file.unlink()
    assert await store.policies.reload() == "error"
    assert store.decide("HOUSE-4711")[0] == OutputDecision.OUTPUT_DECISION_QUARANTINE


async def test_candidates_tests_and_differences_know_the_file(store: Store) -> None:
    store.file.write_text(FILE)
    assert await store.policies.reload() == "ok"
    rule = b"output_rules: [{id: more, match: {detectors: [house_code]}, decision: redact}]"
    assert store.policies.candidate("secops/x", rule).rule_count == 0
    assert store.policies.with_bundles([("secops/x", rule)]).snapshot
    assert b'"passed":0' in store.policies.tested([("secops/x", rule)])
    assert b'"equivalent":true' in store.policies.difference([("secops/x", rule)])
