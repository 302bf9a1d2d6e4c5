"""Other scanners on the same samples and clean text, as far as they are installed (extra ``bench-quality``)."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import process_time
from typing import Any, NamedTuple

from tests.quality.corpus import Part
from tests.quality.measure import Found, Quality, Scan, on_clean_text, on_samples
from tests.quality.samples import Sample

__all__ = ["compare"]


class Peer(NamedTuple):
    """A scanner of others: its name, what it looks for, and itself."""

    name: str
    groups: tuple[str, ...]
    scan: Scan
    speed: float | None = None
    """Megabytes per second, where it was measured on the way."""


def compare(own: Quality, scan: Scan, samples: Sequence[Sample], parts: Sequence[Part]) -> None:
    """Print quality and speed of every peer next to ours; a peer is judged only on the groups it knows."""
    print(f"\n{'scanner':<16}{'group':<14}{'recall':>8}{'near':>10}{'clean/MB':>10}{'MB/s':>9}")
    _row("cordum", own, ("secret_leak", "pii"), _speed(lambda data: list(scan(data, None)), parts))
    for build in (_detect_secrets, _presidio, _gitleaks):
        peer = build(samples, parts)
        if peer is None:
            print(f"{build.__name__.strip('_'):<16}not installed")
            continue
        mine = [sample for sample in samples if sample.group in peer.groups]
        quality = on_samples(peer.scan, mine, names_matter=False)
        shorter = _shortened(parts)
        on_clean_text(peer.scan, shorter, quality)
        speed = peer.speed or _speed(lambda data, one=peer: list(one.scan(data, None)), shorter)
        _row(peer.name, quality, peer.groups, speed)


def _shortened(parts: Sequence[Part]) -> list[Part]:
    """Every so many parts, about two megabytes: the slow ones would take hours for all."""
    size = sum(len(part.data) for part in parts)
    step = max(1, size // 2_000_000)
    return [part for number, part in enumerate(parts) if number % step == 0 and len(part.data) < 200_000]


def _row(name: str, quality: Quality, groups: Sequence[str], speed: float) -> None:
    for group in groups:
        tally = quality.group(group)
        rate = quality.clean_of(group) / (quality.clean_bytes / 1e6)
        near = f"{tally.near_reported}/{tally.near}"
        print(f"{name:<16}{group:<14}{tally.recall:>8.3f}{near:>10}{rate:>10.2f}{speed:>9.2f}")


def _speed(scan: Callable[[bytes], object], parts: Sequence[Part]) -> float:
    """Megabytes per second of processor time over the clean text, at most ten seconds of it."""
    started_s, size = process_time(), 0
    for part in parts:
        scan(part.data)
        size += len(part.data)
        if process_time() - started_s > 10:
            break
    return size / 1e6 / (process_time() - started_s)


def _children_s() -> float:
    """Processor time of programs that have ended."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _detect_secrets(_samples: Sequence[Sample], _parts: Sequence[Part]) -> Peer | None:
    """All plug-ins and filters as they come, over a file, which is what its limits of entropy apply to."""
    if find_spec("detect_secrets") is None:
        return None
    scanning: Any = import_module("detect_secrets.core.scan")
    settings: Any = import_module("detect_secrets.settings")
    folder = tempfile.TemporaryDirectory()

    def scan(data: bytes, _sample: Sample | None) -> Iterable[Found]:
        path = Path(folder.name, "text.txt")
        path.write_bytes(data)
        lines = data.splitlines(keepends=True)
        with settings.default_settings():
            for secret in scanning.scan_file(str(path)):
                value = (secret.secret_value or "").encode()
                at = sum(map(len, lines[: secret.line_number - 1]))
                line = lines[secret.line_number - 1] if secret.line_number <= len(lines) else b""
                start = line.find(value)
                # What it does not show lies anywhere on the line.
                span = (at + start, at + start + len(value)) if start >= 0 else (at, at + len(line))
                yield Found("secret_leak", secret.type, *span)

    return Peer("detect-secrets", ("secret_leak",), scan)


def _presidio(_samples: Sequence[Sample], _parts: Sequence[Part]) -> Peer | None:
    """Its pattern recognisers alone, without a language model, with its own context words and its usual threshold."""
    if find_spec("presidio_analyzer") is None:
        return None
    registry: Any = import_module("presidio_analyzer.predefined_recognizers")
    base: Any = import_module("presidio_analyzer").PatternRecognizer
    recognizers = []
    for name in registry.__all__:
        kind = getattr(registry, name)
        if isinstance(kind, type) and issubclass(kind, base) and kind is not base:
            try:
                recognizers.append(kind())
            except Exception as error:  # some need packages that are not installed
                print(f"presidio: {name} left out: {type(error).__name__}")

    def scan(data: bytes, _sample: Sample | None) -> Iterable[Found]:
        text = data.decode("utf-8", "replace")
        for recognizer in recognizers:
            for result in recognizer.analyze(text, recognizer.supported_entities, None):
                around = text[max(0, result.start - 60) : result.start].lower()
                has_context = any(word.lower() in around for word in recognizer.context or ())
                if result.score + (0.35 if has_context else 0.0) >= 0.5:
                    start = len(text[: result.start].encode())
                    yield Found(
                        "pii",
                        result.entity_type,
                        start,
                        start + len(text[result.start : result.end].encode()),
                    )

    return Peer("presidio", ("pii",), scan)


def _gitleaks(samples: Sequence[Sample], parts: Sequence[Part]) -> Peer | None:
    """One run of the program over files of all texts: starting it anew for each text would measure the start."""
    program = shutil.which("gitleaks")
    if program is None:
        return None
    texts = {sample.data for sample in samples} | {part.data for part in parts}
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for number, data in enumerate(sorted(texts)):
            path = Path(folder, f"{number:06d}.txt")
            path.write_bytes(data)
            names[path.name] = data
        report = Path(folder).with_suffix(".json")
        started_s = _children_s()
        subprocess.run(
            [
                program,
                "dir",
                folder,
                "--no-banner",
                "--exit-code",
                "0",
                "--report-format",
                "json",
                "--report-path",
                str(report),
            ],
            check=True,
            capture_output=True,
        )
        speed = sum(map(len, texts)) / 1e6 / (_children_s() - started_s)
        found: dict[bytes, list[Found]] = {}
        for leak in json.loads(report.read_text()):
            data = names[Path(leak["File"]).name]
            start = data.find(leak["Secret"].encode())
            found.setdefault(data, []).append(
                Found("secret_leak", leak["RuleID"], start, start + len(leak["Secret"].encode()))
            )
        report.unlink()

    def scan(data: bytes, _sample: Sample | None) -> Iterable[Found]:
        return found.get(data, ())

    return Peer("gitleaks", ("secret_leak",), scan, speed)
