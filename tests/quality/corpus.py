"""Clean text of this repository and its environment: source, lock files, documents, logs. None is sensitive."""

import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Part", "clean_parts"]

_ROOT = Path(__file__).resolve().parents[2]
_LARGEST = 2_000_000
# Files that talk about detectors, hold keys for tests or test data of scanners: real findings, not false ones.
_LEFT_OUT = (
    "rust/output/",
    "rust/policy/src/content",
    "rust/policy/tests",
    "rust/policy/src/analysis",
    "config/safety.tests.yaml",
    "tests/",
    "docs/output",
    "python/cordum/output",
    "examples/",
    "benches/",
)
_SUFFIXES = {
    "source": (
        ".py",
        ".rs",
        ".c",
        ".h",
        ".js",
        ".ts",
        ".lua",
        ".pyi",
        ".toml",
        ".sh",
        ".proto",
        ".css",
        ".html",
    ),
    "docs": (".md", ".rst", ".txt"),
    "data": (".json", ".yaml", ".yml", ".cfg", ".ini", ".lock"),
}


@dataclass(frozen=True)
class Part:
    """A file: its kind and name, its bytes, and detectors whose findings in it are true ones."""

    name: str
    data: bytes
    expected: frozenset[str] = frozenset()

    def expects(self, detector: str) -> bool:
        return detector in self.expected


# Authors put their addresses into what they publish, and documents of libraries show addresses and hosts.
_TRUE_IN_PACKAGES = frozenset({"email_address", "phone_number"})


def _kind(path: Path) -> str | None:
    return next((kind for kind, suffixes in _SUFFIXES.items() if path.suffix in suffixes), None)


def _files(root: Path) -> Iterator[Path]:
    yield from sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _repository() -> Iterator[Part]:
    for folder in ("rust", "python", "docs", "proto", "config", "tools"):
        for path in _files(_ROOT / folder):
            name = path.relative_to(_ROOT).as_posix()
            kind = _kind(path)
            if kind and not name.startswith(_LEFT_OUT) and "__pycache__" not in name:
                yield Part(f"{kind}:{name}", path.read_bytes())
    yield Part("data:Cargo.lock", (_ROOT / "Cargo.lock").read_bytes())


def _packages(limit: int) -> Iterator[Part]:
    """Installed packages and the standard library without their tests, in a fixed order, up to `limit` bytes each."""
    for key in ("purelib", "stdlib"):
        root, taken = Path(sysconfig.get_paths()[key]), 0
        paths = [path for path in _files(root) if _kind(path) and not _is_test(path.relative_to(root))]
        random.Random(5).shuffle(paths)
        for path in paths:
            if taken >= limit:
                break
            data = path.read_bytes()[:_LARGEST]
            taken += len(data)
            yield Part(f"{_kind(path)}:{path.relative_to(root).as_posix()}", data, _TRUE_IN_PACKAGES)


def _is_test(path: Path) -> bool:
    words = (
        "test",
        "tests",
        "testing",
        "site-packages",
        "cordum",
        "detect_secrets",
        "presidio_analyzer",
        "idlelib",
        "pip",
        "fixtures",
    )
    return any(part in words or part.startswith("test_") for part in path.parts)


def _logs(lines: int) -> Iterator[Part]:
    """A generated service log: times, ids, paths, durations, hashes, counters."""
    rng = random.Random(7)
    levels, paths = (
        ("INFO", "DEBUG", "WARN"),
        ("/api/v1/jobs", "/api/v1/runs", "/health", "/api/v1/policy/bundles"),
    )
    out = []
    for number in range(lines):
        ident = f"{rng.getrandbits(128):032x}"
        time = (
            f"2026-02-{number % 28 + 1:02d}T{number % 24:02d}:{number % 60:02d}:{rng.randrange(60):02d}.512Z"
        )
        request = f"{ident[:8]}-{ident[8:12]}-4{ident[13:16]}-8{ident[17:20]}-{ident[20:]}"
        target = f"{rng.choice(paths)}/{rng.getrandbits(64):016x}"
        out.append(
            f"{time} {rng.choice(levels)} gateway request_id={request} GET {target} {rng.choice((200, 201, 404))} "
            f"{rng.randrange(1, 900)}us bytes={rng.randrange(10**6)} trace={rng.getrandbits(128):032x} "
            f"commit={rng.getrandbits(160):040x} seq={number}"
        )
    yield Part("log:generated service log", "\n".join(out).encode())


def clean_parts(megabytes: int = 20) -> Iterator[Part]:
    """Clean text: the repository, about `megabytes` of packages, and a log."""
    yield from _repository()
    yield from _packages(megabytes * 500_000)
    yield from _logs(20_000)
