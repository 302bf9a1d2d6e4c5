"""Registry of the Lua scripts in ``store/lua``: reads the headers, splices includes, builds EVALSHA
commands (style §5)."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from cordum.domain.errors import CordumError

__all__ = ["Command", "Script", "load_scripts", "script", "source_of"]

Command = tuple[Any, ...]
"""One Redis command: name and arguments (str, bytes, int or float)."""

_HEADER = re.compile(
    r"-- (?P<name>\w+)  slot=(?P<slot>[^\n]+?)  KEYS: (?P<keys>[^\n]+?)  ARGV: (?P<argv>[^\n]+)\n"
    r"-- returns [^\n]+\n"
)
_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)
_ITEM = re.compile(r"\b(\d+)(\.\.)? ")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script with the call shape its header promises."""

    name: str
    source: str
    sha: str
    key_count: int
    min_args: int
    variadic: bool

    def command(self, keys: Sequence[str | bytes], args: Sequence[Any]) -> Command:
        """Return the EVALSHA command. Raises CordumError when keys or arguments do not fit the header."""
        if len(keys) != self.key_count:
            raise CordumError(f"script `{self.name}`: expected {self.key_count} keys, got {len(keys)}")
        if len(args) < self.min_args or (not self.variadic and len(args) != self.min_args):
            raise CordumError(f"script `{self.name}`: expected {self.min_args} arguments, got {len(args)}")
        return ("EVALSHA", self.sha, self.key_count, *keys, *args)


def _parse(name: str, text: str, parts: dict[str, str]) -> Script:
    header = _HEADER.match(text)
    if header is None or header["name"] != name:
        raise CordumError(f"script `{name}`: header does not follow the convention")
    source = _spliced(text, parts)
    argv = _ITEM.findall(header["argv"])
    return Script(
        name=name,
        source=source,
        sha=hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(),
        key_count=len(_ITEM.findall(header["keys"])),
        min_args=sum(1 for _, dots in argv if not dots),
        variadic=any(dots for _, dots in argv),
    )


def _spliced(text: str, parts: dict[str, str]) -> str:
    """Return a text with the parts it includes, and those that they include."""
    return _INCLUDE.sub(lambda found: _spliced(parts[found[1]].rstrip("\n"), parts), text)


@cache
def load_scripts() -> dict[str, Script]:
    """Read every script of the package once. Raises CordumError on a malformed header."""
    texts = {
        entry.name.removesuffix(".lua"): entry.read_text(encoding="utf-8")
        for entry in files("cordum.store").joinpath("lua").iterdir()
        if entry.name.endswith(".lua")
    }
    parts = {name[1:]: text for name, text in texts.items() if name.startswith("_")}
    return {name: _parse(name, text, parts) for name, text in texts.items() if not name.startswith("_")}


def script(name: str) -> Script:
    """Return a script by file name without suffix."""
    return load_scripts()[name]


@cache
def _by_sha() -> dict[str, str]:
    return {entry.sha: entry.source for entry in load_scripts().values()}


def source_of(sha: str) -> str | None:
    """Return the source behind a digest, for the reload after NOSCRIPT."""
    return _by_sha().get(sha)
