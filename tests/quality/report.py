"""``make quality``: recall, precision, wrong detectors and false positives by group and detector, peers on request."""

import argparse
import sys
from collections.abc import Iterable, Sequence

from cordum.output import scan
from tests.quality import peers
from tests.quality.corpus import Part, clean_parts
from tests.quality.measure import Found, Quality, by_kind, on_clean_text, on_samples
from tests.quality.samples import GROUPS, Sample, samples

__all__ = ["RECALL", "main", "measured", "scan_with_cordum"]

RECALL = {"secret_leak": 0.97, "pii": 0.95, "code_injection": 0.90, "prompt_injection": 0.90}
"""Output policy spec §16.8."""
WRONG_DETECTOR = 0.02
CLEAN_PER_MEGABYTE = 0.1
GENERIC_PRECISION = 0.85


def scan_with_cordum(data: bytes, sample: Sample | None) -> Iterable[Found]:
    """The scanner under test, as a user calls it."""
    names = [sample.detector] if sample and sample.is_named else None
    for one in scan(data, scanners=names):
        yield Found(one.type, one.detector, one.offset, one.offset + one.length)


def measured(megabytes: int = 20, parts: Sequence[Part] | None = None) -> Quality:
    """Quality on all samples and on clean text."""
    quality = on_samples(scan_with_cordum, samples())
    on_clean_text(scan_with_cordum, clean_parts(megabytes) if parts is None else parts, quality)
    return quality


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; return 1 when a bar of output policy spec §16.8 is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.quality.report", description=__doc__)
    parser.add_argument(
        "--megabytes", type=int, default=20, help="clean text of packages (default: %(default)s)"
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="compare with what the extra bench-quality installs, and gitleaks",
    )
    parser.add_argument(
        "--show", type=int, default=15, help="misses and false positives listed (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    parts = list(clean_parts(options.megabytes))
    quality = measured(parts=parts)
    _print_groups(quality)
    _print_detectors(quality)
    _print_faults(quality, options.show)
    failures = missed_bars(quality)
    for failure in failures:
        print(f"MISSED: {failure}")
    if options.peers:
        peers.compare(quality, scan_with_cordum, samples(), parts)
    return 1 if failures else 0


def missed_bars(quality: Quality) -> list[str]:
    """Bars of §16.8 that are not reached."""
    failures = []
    for group, bar in RECALL.items():
        tally = quality.group(group)
        if tally.recall < bar:
            failures.append(f"recall of {group} is {tally.recall:.3f}, the bar is {bar}")
        if tally.wrong_rate > WRONG_DETECTOR:
            failures.append(
                f"wrong detector in {tally.wrong_rate:.1%} of {group}, the bar is {WRONG_DETECTOR:.0%}"
            )
    if quality.near_misses:
        failures.append(f"{len(quality.near_misses)} near misses are reported, the bar is 0")
    if quality.clean_per_megabyte > CLEAN_PER_MEGABYTE:
        failures.append(
            f"{quality.clean_per_megabyte:.2f} findings per MB of clean text, the bar is {CLEAN_PER_MEGABYTE}"
        )
    precision = quality.detectors["generic_secret"].precision
    if precision < GENERIC_PRECISION:
        failures.append(f"precision of generic_secret is {precision:.2f}, the bar is {GENERIC_PRECISION}")
    return failures


def _print_groups(quality: Quality) -> None:
    megabytes = quality.clean_bytes / 1e6
    print(f"{megabytes:.0f} MB of clean text, {len(samples())} samples")
    print(f"{'group':<18}{'recall':>8}{'precision':>11}{'wrong':>8}{'near':>9}{'clean/MB':>10}")
    for group in GROUPS:
        tally = quality.group(group)
        rate = quality.clean_of(group) / megabytes if megabytes else 0.0
        near = f"{tally.near_reported}/{tally.near}"
        print(
            f"{group:<18}{tally.recall:>8.3f}{tally.precision:>11.3f}{tally.wrong_rate:>8.3f}{near:>9}{rate:>8.2f}"
        )


def _print_detectors(quality: Quality) -> None:
    print(f"\n{'detector':<30}{'hits':>6}{'recall':>8}{'precision':>11}{'wrong':>7}{'near':>6}{'clean':>7}")
    for detector, tally in sorted(
        quality.detectors.items(), key=lambda item: (quality.group_of[item[0]], item[0])
    ):
        print(
            f"{detector:<30}{tally.hits:>6}{tally.recall:>8.3f}{tally.precision:>11.3f}{tally.wrong:>7}"
            f"{tally.near_reported:>6}{tally.clean:>7}"
        )


def _print_faults(quality: Quality, count: int) -> None:
    """The first of each kind. Values are shown: they are generated."""
    text = lambda sample: sample.data[sample.start : sample.end].decode(errors="replace")[:90]  # noqa: E731
    for sample in quality.missed[:count]:
        print(f"missed {sample.label}: {text(sample)!r}")
    for sample, other in quality.confused[:count]:
        print(f"called {other} instead of {sample.label}: {text(sample)!r}")
    for sample, _ in quality.near_misses[:count]:
        print(f"near miss reported {sample.label}: {text(sample)!r}")
    for (kind, detector), number in by_kind(quality).most_common(count):
        print(f"clean {kind}: {number} × {detector}")
    for name, found in quality.clean_findings[:count]:
        print(f"clean finding {found.detector} at {name}+{found.start}")


if __name__ == "__main__":
    sys.exit(main())
