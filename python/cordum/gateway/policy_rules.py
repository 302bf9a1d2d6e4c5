"""The rules of stored policy documents as listings show them (policy spec §18)."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cordum._core import PolicyError, policy_rules
from cordum.domain.errors import InvalidInput
from cordum.store.policy_bundles import Bundle, parse_bundles

__all__ = ["BASE", "Fragment", "RuleReader", "readable_bundles", "rule_items"]

BASE: Final = "base"
CACHED_MAX: Final = 2_000
CACHED_MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes of documents whose rules are remembered."""
_NEVER_SHOWN: Final = ("action", "conditions")
"""A typed client reads these keys into closed enums."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """The rules of one document, or why it holds none."""

    entries: Sequence[Mapping[str, Any]] = ()
    """Section, rule as written, tier, selector, enabled of each rule."""
    error: str = ""
    size_bytes: int = field(default=0, compare=False)


class RuleReader:
    """Reads rules and remembers those of unchanged documents, by hash."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Fragment] = OrderedDict()
        self._bytes = 0

    async def read(self, contents: Sequence[bytes]) -> list[Fragment]:
        """Return the rules of each document; new ones are parsed in a thread."""
        digests = [hashlib.sha256(content).digest() for content in contents]
        missing = {
            digest: content
            for digest, content in zip(digests, contents, strict=True)
            if digest not in self._known
        }
        found = await asyncio.to_thread(_parse, missing) if missing else {}
        fragments = [found[digest] if digest in found else self._known[digest] for digest in digests]
        self._remember(dict(zip(digests, fragments, strict=True)))
        return fragments

    def _remember(self, fragments: Mapping[bytes, Fragment]) -> None:
        for digest, fragment in fragments.items():
            if digest not in self._known:
                self._bytes += fragment.size_bytes
            self._known[digest] = fragment
            self._known.move_to_end(digest)
        while len(self._known) > CACHED_MAX or self._bytes > CACHED_MAX_BYTES:
            _, dropped = self._known.popitem(last=False)
            self._bytes -= dropped.size_bytes


def _parse(contents: Mapping[bytes, bytes]) -> dict[bytes, Fragment]:
    return {digest: _fragment(content) for digest, content in contents.items()}


def _fragment(content: bytes) -> Fragment:
    if not content.strip():
        return Fragment()
    try:
        listed = policy_rules(content)
    except PolicyError as error:
        return Fragment(error=str(error)[:4_000], size_bytes=len(content))
    return Fragment(orjson.loads(listed), size_bytes=max(len(listed), len(content)))


def readable_bundles(stored: Mapping[str, Any]) -> tuple[list[Bundle], list[dict[str, str]]]:
    """Return the stored bundles in id order, and which of them are none: those must not hide the others."""
    bundles: list[Bundle] = []
    errors: list[dict[str, str]] = []
    for name in sorted(stored, key=str.encode):
        try:
            bundles += parse_bundles({name: stored[name]})
        except InvalidInput as error:
            errors.append({"fragment_id": name, "error": error.message})
    return bundles, errors


def rule_items(bundle: Bundle, entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rules of a bundle as items of a listing; a disabled bundle disables them all."""
    pack_id, _, overlay = bundle.id.partition("/")
    is_pack = bundle.id != BASE and pack_id not in {"secops", "velocity", "workflow"}
    source: dict[str, Any] = {
        "fragment_id": bundle.id,
        "pack_id": pack_id if is_pack else "",
        "overlay_name": overlay if is_pack else "",
        "version": bundle.version,
        "sha256": hashlib.sha256(bundle.content).hexdigest(),
    }
    if bundle.installed_at:
        source["installed_at"] = bundle.installed_at
    return [
        {name: value for name, value in entry["rule"].items() if name not in _NEVER_SHOWN}
        | {
            "section": entry["section"],
            "tier": entry["tier"],
            "selector": entry["selector"],
            "enabled": bundle.enabled and entry["enabled"],
            "source": {**source, "tier": entry["tier"]},
        }
        for entry in entries
    ]
