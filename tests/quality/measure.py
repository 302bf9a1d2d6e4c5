"""Recall, precision, wrong detectors and false positives of a scanner on the samples and on clean text."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.quality.corpus import Part
from tests.quality.samples import Sample

__all__ = ["Found", "Quality", "Scan", "Tally", "by_kind", "on_clean_text", "on_samples"]


class Found(NamedTuple):
    """What a scanner reports: the group, its name for it, and bytes (-1 where it does not say)."""

    group: str
    detector: str
    start: int
    end: int


Scan = Callable[[bytes, Sample | None], Iterable[Found]]
"""A scanner; the sample tells one whose detector is off by default what to switch on."""


@dataclass
class Tally:
    """Counts of one detector or group."""

    hits: int = 0
    found: int = 0
    wrong: int = 0
    near: int = 0
    near_reported: int = 0
    clean: int = 0

    @property
    def recall(self) -> float:
        return self.found / self.hits if self.hits else 1.0

    @property
    def precision(self) -> float:
        """True findings among all on samples and clean text."""
        reported = self.found + self.wrong + self.near_reported + self.clean
        return self.found / reported if reported else 1.0

    @property
    def wrong_rate(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0

    def add(self, other: "Tally") -> None:
        for name in ("hits", "found", "wrong", "near", "near_reported", "clean"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Quality:
    """Everything measured of one scanner."""

    detectors: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    group_of: dict[str, str] = field(default_factory=dict)
    missed: list[Sample] = field(default_factory=list)
    confused: list[tuple[Sample, str]] = field(default_factory=list)
    near_misses: list[tuple[Sample, str]] = field(default_factory=list)
    clean_findings: list[tuple[str, Found]] = field(default_factory=list)
    clean_bytes: int = 0

    def group(self, name: str) -> Tally:
        total = Tally()
        for detector, tally in self.detectors.items():
            if self.group_of.get(detector) == name:
                total.add(tally)
        return total

    @property
    def clean_per_megabyte(self) -> float:
        return len(self.clean_findings) / (self.clean_bytes / 1e6) if self.clean_bytes else 0.0

    def clean_of(self, group: str) -> int:
        return sum(1 for _, found in self.clean_findings if found.group == group)


def on_samples(scan: Scan, samples: Sequence[Sample], *, names_matter: bool = True) -> Quality:
    """Scan all samples. Without ``names_matter`` any finding of the group counts: peers name things their way."""
    quality = Quality()
    for sample in samples:
        quality.group_of[sample.detector] = sample.group
        touching = [
            found
            for found in scan(sample.data, sample)
            if found.group == sample.group
            and (found.start < 0 or (found.start < sample.end and sample.start < found.end))
        ]
        tally = quality.detectors[sample.detector]
        if sample.is_hit:
            tally.hits += 1
            if any(not names_matter or found.detector == sample.detector for found in touching):
                tally.found += 1
            elif touching:
                tally.wrong += 1
                quality.confused.append((sample, touching[0].detector))
            else:
                quality.missed.append(sample)
            continue
        tally.near += 1
        reported = [found for found in touching if not names_matter or found.detector == sample.detector]
        if reported:
            tally.near_reported += 1
            quality.near_misses.append((sample, reported[0].detector))
    return quality


def on_clean_text(scan: Scan, parts: Iterable[Part], quality: Quality) -> None:
    """Scan text without anything to find and add what is reported there."""
    for part in parts:
        quality.clean_bytes += len(part.data)
        for found in scan(part.data, None):
            if part.expects(found.detector):
                continue
            quality.clean_findings.append((part.name, found))
            quality.group_of.setdefault(found.detector, found.group)
            quality.detectors[found.detector].clean += 1


def by_kind(quality: Quality) -> Counter[tuple[str, str]]:
    """Clean findings by kind of text and detector."""
    return Counter((name.partition(":")[0], found.detector) for name, found in quality.clean_findings)
