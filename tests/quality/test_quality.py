"""The quality bar of output policy spec §16.8 on generated samples and clean text."""

from collections import Counter
from pathlib import Path

import pytest

from cordum.output import scan
from tests.quality.measure import Quality
from tests.quality.report import RECALL, measured, missed_bars
from tests.quality.samples import GROUPS, Sample, detectors, samples

# What surrounds a value is no token: a template of such a structure is one of it.
_STRUCTURES = {
    "generic_secret",
    "database_url_password",
    "gcp_service_account_key",
    "kubernetes_secret",
    "netrc_credentials",
}
_FORMATS = tuple(name for name in detectors("secret_leak") if name not in _STRUCTURES)


@pytest.fixture(scope="module")
def quality() -> Quality:
    return measured(megabytes=4)


def test_every_detector_has_samples_of_both_kinds() -> None:
    counts = Counter((sample.detector, sample.is_hit) for sample in samples())
    for group in GROUPS:
        assert sum(sample.group == group for sample in samples()) >= 20
        for detector in detectors(group):
            assert counts[detector, True] >= 1, detector
            assert counts[detector, False] >= 1, detector
            scan(b"", scanners=[detector])  # raises for a name that is no detector


def test_samples_are_the_same_in_every_run() -> None:
    first = samples()
    samples.cache_clear()
    assert samples() == first


def test_marked_spans_are_inside_of_their_texts() -> None:
    def is_inside(sample: Sample) -> bool:
        return 0 <= sample.start < sample.end <= len(sample.data)

    assert all(is_inside(sample) for sample in samples())


def test_the_data_files_hold_no_token_in_one_piece() -> None:
    for path in sorted((Path(__file__).parent / "data").glob("*.yaml")):
        found = scan(path.read_bytes(), scanners=_FORMATS)
        assert [one.detector for one in found] == [], path.name


@pytest.mark.parametrize("group", GROUPS)
def test_recall_of_a_group_reaches_its_bar(group: str, quality: Quality) -> None:
    missed = [sample.label for sample in quality.missed if sample.group == group]
    assert quality.group(group).recall >= RECALL[group], missed[:20]


def test_every_detector_finds_most_of_its_samples(quality: Quality) -> None:
    weak = {name: tally.recall for name, tally in quality.detectors.items() if tally.recall < 0.8}
    assert weak == {}


@pytest.mark.parametrize("group", GROUPS)
def test_findings_carry_the_right_name(group: str, quality: Quality) -> None:
    confused = [(sample.label, other) for sample, other in quality.confused if sample.group == group]
    assert quality.group(group).wrong_rate <= 0.02, confused[:20]


def test_near_misses_are_not_reported(quality: Quality) -> None:
    assert [sample.label for sample, _ in quality.near_misses] == []


def test_clean_text_is_left_alone(quality: Quality) -> None:
    assert quality.clean_per_megabyte <= 0.1, [
        (name, found.detector) for name, found in quality.clean_findings
    ]


def test_the_whole_bar_is_reached(quality: Quality) -> None:
    assert missed_bars(quality) == []
