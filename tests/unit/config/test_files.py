"""`pools.yaml` and `timeouts.yaml`: what is taken, and what is refused (configuration spec §4.1, §4.2)."""

from pathlib import Path

import pytest

from cordum.config.files import PoolsFile, TimeoutsFile, load_file
from cordum.domain.errors import ConfigError

POOLS = """
topics:
  job.mail.send: mailers
  job.vision.tag: [vision, vision-spot]
pools:
  mailers:
  vision: {requires: [gpu], status: draining, drain_started_at: "2026-01-05T10:00:00Z", drain_timeout_seconds: 600}
"""


def pools(folder: Path, text: str) -> PoolsFile:
    path = folder / "pools.yaml"
    path.write_text(text)
    return load_file(str(path), PoolsFile)


def test_a_pool_may_be_empty_or_named_by_topics_only(tmp_path: Path) -> None:
    read = pools(tmp_path, POOLS)
    assert read.topics["job.mail.send"] == ("mailers",)
    assert read.pools["mailers"].requires == ()
    assert read.pools["vision"].drain_timeout_seconds == 600
    assert read.undeclared == ["vision-spot"]
    assert pools(tmp_path, "topics: {job.a: p}\npools:\n").undeclared == ["p"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "topics"),
        ("topics: {}", "topics"),
        ("topics: {job.a: ''}", "topics.job.a"),
        ("topics: {job.a: []}", "topics.job.a"),
        ("topics: {job.a: p}\nextra: 1", "extra"),
        ("topics: {job.a: p}\npools: {p: {size: 3}}", "pools.p.size"),
        ("topics: {job.a: p}\npools: {p: {status: paused}}", "pools.p.status"),
        ("topics: {job.a: p}\npools: {p: {drain_timeout_seconds: -1}}", "pools.p.drain_timeout_seconds"),
        ("topics: {job.a: p}\npools: {p: {drain_started_at: soon}}", "pools.p.drain_started_at"),
        ("topics: {job.a: p}\npools: {p: {drain_started_at: '2026-01-05T10:00:00'}}", "drain_started_at"),
        ("topics: {job.a: p}\npools: []", "pools"),
        ("topics: {job.a: p, job.a: q}", "duplicate key"),
        ("topics: [", "pools.yaml"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ConfigError) as refused:
        pools(tmp_path, text)
    assert where in refused.value.message
    assert "pools.yaml" in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "reconciler: {dispatch_timeout_seconds: -1}",
        "reconciler: {dispatch: 3}",
        "topics: {job.a: {timeout_seconds: 1.5}}",
        "topics: {job.a: {timeout: 5}}",
        "topics: {job.a: {timeout_seconds: true}}",
        "reconciler: {scan_interval_seconds: '30'}",
        "workflows: {w: {max_retries: many}}",
        "other: {}",
    ],
)
def test_time_outs_are_whole_seconds_of_known_names(tmp_path: Path, text: str) -> None:
    path = tmp_path / "timeouts.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_file(str(path), TimeoutsFile)


def test_an_empty_time_outs_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "timeouts.yaml"
    path.write_text("")
    limits = load_file(str(path), TimeoutsFile).reconciler
    assert (limits.dispatch_timeout_seconds, limits.running_timeout_seconds) == (300, 900)
    assert (limits.scan_interval_seconds, limits.scheduled_timeout_seconds) == (30, 60)


def test_a_section_without_members_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "timeouts.yaml"
    path.write_text("workflows:\ntopics:\nreconciler:\n")
    assert load_file(str(path), TimeoutsFile) == TimeoutsFile()
