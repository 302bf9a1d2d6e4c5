"""The script registry follows the header convention (style §5)."""

import re

import pytest

from cordum.domain.errors import CordumError
from cordum.store import keys
from cordum.store.scripts import load_scripts, script, source_of


def test_every_script_has_a_header_and_no_unresolved_include() -> None:
    scripts = load_scripts()
    assert {"job_create", "sched_commit", "result_commit", "job_move", "wheel_lease"} <= scripts.keys()
    assert not any("-- include" in entry.source for entry in scripts.values())


def test_no_script_scans_or_reads_the_clock() -> None:
    forbidden = re.compile(r"call\('(KEYS|SCAN|HSCAN|ZSCAN|TIME|SMEMBERS)'")
    found = {entry.name for entry in load_scripts().values() if forbidden.search(entry.source)}
    # The one exception is asked for: replicas share a window only by Redis's own clock (policy spec §13.1).
    assert found == {"velocity_count"}


@pytest.mark.parametrize(
    ("name", "key_names", "args"),
    [
        ("job_create", [], ["1", b"o"]),
        ("job_create", ["a"], ["1"]),
        ("idem_claim", ["a"], ["id"]),
        ("idem_claim", ["a"], ["id", 1, 2]),
    ],
)
def test_a_call_with_another_shape_than_the_header_is_refused(
    name: str, key_names: list[str], args: list[object]
) -> None:
    with pytest.raises(CordumError, match="expected"):
        script(name).command(key_names, args)


def test_a_source_is_found_by_its_digest() -> None:
    entry = script("lock_renew")
    assert source_of(entry.sha) == entry.source
    assert source_of("0" * 40) is None


def test_a_partition_is_the_checksum_of_the_job_id() -> None:
    assert keys.partition_of("123456789", 64) == 0xCBF43926 % 64
    assert keys.tag_of(10) == "{j0a}"
    assert keys.partition_name(255) == "jff"
