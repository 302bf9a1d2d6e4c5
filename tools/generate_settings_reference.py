"""Write docs/configuration.md from the settings models (`--check`: fail when the page is not current)."""

import importlib
import pkgutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AliasChoices, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import cordum.config
from cordum.config import types as kinds
from cordum.config.base import Settings

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

INTRODUCTION: Final = """# Configuration

<!-- Written by tools/generate_settings_reference.py from cordum.config; do not edit by hand. -->

Every service reads its settings from environment variables. An empty variable counts as absent.

- Values marked **S** are security-relevant: a bad one stops the start. A bad value of any other variable is
  replaced by its default and reported as a warning in the log. All errors are reported at once, without values.
- *duration*: `500ms`, `90s`, `1h30m`, `7d`. *size*: bytes, or `64KiB`, `2MiB`, `1GiB`. *list*: comma
  separated. *address*: `host:port` or `:port`. *switch*: `true` or `false`, also `1`, `0`, `yes`, `no`.
- *secret*: the text itself, or the path of a file that holds it in `<NAME>_FILE`; giving both is an error.
- `CORDUM_ENV=production` (or `CORDUM_PRODUCTION=true`) refuses insecure values at the start.

Files: `config/safety.yaml` ([policy](policy.md)), `config/output_scanners.yaml` (patterns of your own for
[results](output-policy.md)), `config/pools.yaml` (which pool serves which topic) and
`config/timeouts.yaml` (how long a job may stay in a state). `cordumctl up` copies them into its data directory,
where you can edit them. The policy file is read again while the system runs; a broken one keeps the last good
policy. Pools and time-outs are taken into Redis (`cfg:system:default`) when nothing is stored there yet, and
from then on the stored ones count. When a file differs from what is stored, the scheduler warns and
`cordum_config_drift` is 1; delete `cfg:system:default` to have the files taken in again.
"""

_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "m"), (1.0, "s"), (0.001, "ms"))
_SIZES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_PARSERS: Final = {
    kinds.parse_bool: "switch",
    kinds.parse_duration: "duration",
    kinds.parse_bytes: "size",
    kinds.parse_list: "list",
    kinds.parse_address: "address",
}
_PLAIN: Final = {str: "text", int: "number", float: "number", bool: "switch", kinds.Address: "address"}


def models() -> list[type[Settings]]:
    """Return every settings model of `cordum.config`, bases before those built on them."""
    for module in sorted(info.name for info in pkgutil.iter_modules(cordum.config.__path__)):
        importlib.import_module(f"cordum.config.{module}")
    found: dict[type[Settings], None] = {}
    queue = list(Settings.__subclasses__())
    while queue:
        model = queue.pop(0)
        if model.__module__.startswith("cordum.config."):
            found[model] = None
        queue += model.__subclasses__()
    return sorted(found, key=lambda model: (len(model.__mro__), model.__name__))


def own_fields(model: type[Settings]) -> Iterator[FieldInfo]:
    """Yield the fields a model declares itself."""
    inherited = {name for base in model.__mro__[1:] for name in getattr(base, "model_fields", {})}
    for name, field in model.model_fields.items():
        if name not in inherited:
            yield field


def variables(field: FieldInfo) -> list[str]:
    """Return the names of a field's environment variable, the preferred one first."""
    alias = field.validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]


def kind_of(annotation: Any, metadata: list[Any]) -> str:
    """Return the word for a field's type."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return kind_of(inner, [*metadata, *more])
    if get_origin(annotation) in {Union, types.UnionType}:
        members = [member for member in get_args(annotation) if member is not type(None)]
        return kind_of(members[0], metadata)
    if annotation is SecretStr:
        return "secret"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(annotation) if word)
    for mark in metadata:
        if isinstance(mark, BeforeValidator) and mark.func in _PARSERS:
            return _PARSERS[mark.func]
    return _PLAIN[annotation]


def bounds_of(metadata: list[Any]) -> str:
    """Return the range of a number as text, empty without one."""
    found = []
    for mark in metadata:
        for kind, sign in ((Ge, "≥"), (Gt, ">"), (Le, "≤"), (Lt, "<")):
            if isinstance(mark, kind):
                found.append(f"{sign} {getattr(mark, kind.__name__.lower())}")
    return ", ".join(found)


def default_of(field: FieldInfo, kind: str) -> str:
    """Return the default as one would write it in the environment."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ("", ()) or isinstance(value, SecretStr):
        return ""
    if kind == "switch":
        return "`true`" if value else "`false`"
    if kind == "duration":
        return f"`{_duration(float(value))}`"
    if kind == "size":
        return f"`{_size(int(value))}`"
    if kind == "list":
        return f"`{','.join(value)}`"
    return f"`{value}`"


def _duration(seconds: float) -> str:
    for unit_s, unit in _UNITS:
        count = seconds / unit_s
        if count >= 1 and count.is_integer():
            return f"{int(count)}{unit}"
    return f"{seconds:g}s"


def _size(size: int) -> str:
    for unit_bytes, unit in _SIZES:
        if size and size % unit_bytes == 0:
            return f"{size // unit_bytes}{unit}"
    return str(size)


def section(model: type[Settings]) -> list[str]:
    """Return the lines of one model's table; empty when it declares nothing."""
    rows = [_row(field) for field in own_fields(model)]
    if not rows:
        return []
    title = model.__name__.removesuffix("Settings")
    return [
        f"## {title}",
        "",
        " ".join((model.__doc__ or "").split("\n\n")[0].replace("``", "`").split()),
        "",
        "| Variable | Value | Default | S |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _row(field: FieldInfo) -> str:
    kind = kind_of(field.annotation, list(field.metadata))
    bounds = bounds_of(list(field.metadata))
    extra = field.json_schema_extra
    marked = isinstance(extra, dict) and bool(extra.get("security"))
    is_security = marked or kind in {"secret", "address"}
    names = " or ".join(f"`{name}`" for name in variables(field))
    value = f"{kind}, {bounds}" if bounds else kind
    return f"| {names} | {value} | {default_of(field, kind)} | {'**S**' if is_security else ''} |"


def render() -> str:
    """Return the whole page."""
    lines = [line for model in models() for line in section(model)]
    return INTRODUCTION + "\n" + "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Write the page, or with `--check` compare it; return the exit code."""
    page = render()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    sys.stderr.write("docs/configuration.md is not current: run tools/generate_settings_reference.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
