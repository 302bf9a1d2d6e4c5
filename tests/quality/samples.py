"""Labelled samples: templates filled with a fixed seed and wrapped as results wrap them."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import yaml

from tests.quality.values import fill

__all__ = ["GROUPS", "Sample", "detectors", "filled", "samples"]

_DATA = Path(__file__).parent / "data"
_FILES = {
    "secrets": "secret_leak",
    "pii": "pii",
    "injection": "code_injection",
    "prompts": "prompt_injection",
}
GROUPS = tuple(_FILES.values())
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9]+(?::[^{}]*)?)\}")


@dataclass(frozen=True)
class Sample:
    """A text, the detector it is about and the bytes that must (or must not) be found."""

    group: str
    detector: str
    wrapping: str
    data: bytes
    start: int
    end: int
    is_hit: bool
    is_named: bool = False
    """The detector is off by default and has to be named."""

    @property
    def label(self) -> str:
        return f"{self.detector}/{self.wrapping}"


Wrapping = tuple[Callable[[str], str], Callable[[str], str]]
"""How a text is written in its surroundings, and the surroundings."""


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _yaml_text(text: str) -> str:
    return text.replace("\n", "\n    ")


def _shell_text(text: str) -> str:
    return text.replace("'", "'\"'\"'")


def _same(text: str) -> str:
    return text


_WRAPPINGS: dict[str, Wrapping] = {
    "plain": (_same, lambda body: f"Result of the run:\n{body}\nDone.\n"),
    "json": (_json_text, lambda body: f'{{"id": 17, "note": "{body}", "ok": true}}'),
    "yaml": (_yaml_text, lambda body: f"items:\n  - note: |\n    {body}\n    count: 3\n"),
    "env": (_json_text, lambda body: f'MODE=fast\nNOTE="{body}"\nLEVEL=3\n'),
    "shell": (_shell_text, lambda body: f"set -e\necho '{body}' >> notes.txt\n"),
    "log": (_same, lambda body: f"2026-01-15T10:20:30.123Z INFO worker-3 message={body} took=12ms\n"),
    "url": (
        lambda text: quote(text, safe="-._~"),
        lambda body: f"https://app.internal/callback?x={body}&page=2",
    ),
    "markdown": (_same, lambda body: f"## Notes\n\n- first\n- see {body}\n\nMore text follows.\n"),
    "xml": (escape, lambda body: f'<items><item id="1"><note>{body}</note></item></items>'),
    "attribute": (
        lambda text: quoteattr(text, {'"': "&quot;"})[1:-1],
        lambda body: f'<item note="{body}" id="4"/>',
    ),
}
_TOKEN_WRAPPINGS = tuple(_WRAPPINGS)
# Words and markup live in text; a shell quotes them, a URL encodes them, and that is another detector's business.
_TEXT_WRAPPINGS = ("plain", "json", "yaml", "env", "log", "markdown", "xml")


def _encode(text: str) -> str:
    """The text behind ``name:`` in the encoding of that name."""
    name, _, plain = text.partition(":")
    encoders: dict[str, Callable[[str], str]] = {
        "base64": lambda t: codecs.encode(t.encode(), "base64").decode().replace("\n", ""),
        "hex": lambda t: t.encode().hex(),
        "percent": lambda t: "".join(f"%{byte:02X}" for byte in t.encode()),
        "rot13": lambda t: codecs.encode(t, "rot13"),
        "reversed": lambda t: t[::-1],
    }
    return encoders[name](plain)


def filled(template: str, rng: Random) -> str:
    """Fill the placeholders; what merely looks like one stays."""

    def value(match: re.Match[str]) -> str:
        try:
            return fill(match[1], rng)
        except (KeyError, ValueError):
            return match[0]

    return _PLACEHOLDER.sub(value, template)


def _split(text: str) -> tuple[str, str, str]:
    """What stands before, in and behind ``[[ ]]``; without marks everything is in it."""
    before, opened, rest = text.partition("[[")
    if not opened:
        return "", text, ""
    value, _, after = rest.rpartition("]]")
    return before, value, after


def _wrapped(wrapping: str, parts: tuple[str, str, str]) -> tuple[bytes, int, int]:
    """Bytes of the whole text and the span of the value in it."""
    write, surround = _WRAPPINGS[wrapping]
    before, value, after = (write(part) for part in parts)
    mark = "\ue000"
    head, _, tail = surround(mark).partition(mark)
    start = len((head + before).encode())
    return (head + before + value + after + tail).encode(), start, start + len(value.encode())


def _of_detector(group: str, detector: str, entry: dict[str, Any]) -> Iterator[Sample]:
    is_text = group in ("code_injection", "prompt_injection")
    names = entry.get("only") or (_TEXT_WRAPPINGS if is_text else _TOKEN_WRAPPINGS)
    if entry.get("raw"):
        names = ("plain", "log", "markdown")
    for is_hit, templates in ((True, entry["hits"]), (False, entry["near"])):
        for number, template in enumerate(templates):
            for wrapping in names:
                rng = Random(f"{detector}/{is_hit}/{number}/{wrapping}")
                text = _encode(template) if entry.get("encoded") else filled(template, rng)
                parts = ("", text, "") if is_text else _split(text)
                data, start, end = _wrapped(wrapping, parts)
                yield Sample(group, detector, wrapping, data, start, end, is_hit, bool(entry.get("named")))


@cache
def samples() -> tuple[Sample, ...]:
    """All samples, the same in every run."""
    return tuple(
        sample
        for file, group in _FILES.items()
        for detector, entry in _entries(file).items()
        for sample in _of_detector(group, detector, entry)
    )


@cache
def _entries(file: str) -> dict[str, Any]:
    entries: dict[str, Any] = yaml.safe_load((_DATA / f"{file}.yaml").read_text(encoding="utf-8"))
    return entries


def detectors(group: str) -> tuple[str, ...]:
    """Detectors of a group that have samples."""
    file = next(file for file, known in _FILES.items() if known == group)
    return tuple(_entries(file))
