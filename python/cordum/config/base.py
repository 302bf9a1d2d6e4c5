"""Base of every settings model: reads the environment, reports all errors at once, applies the class rule.

Class rule (configuration spec §1.2, README decision 17): a bad value of a security-relevant setting stops
the start, a bad value of any other setting becomes its default and a warning. Mark a field with
``json_schema_extra=SECURITY``; secrets and addresses are marked by their type.
"""

import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self, Union, get_args, get_origin

from pydantic import AliasChoices, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from cordum.config.types import Address
from cordum.domain.errors import ConfigError

__all__ = ["SECURITY", "Settings", "load_all"]

SECURITY: Final[dict[str, Any]] = {"security": True}
"""Pass as ``json_schema_extra`` to a field whose bad value must stop the start."""


class Settings(BaseSettings):
    """Settings of one concern. Fields name their variable with ``validation_alias``."""

    model_config = SettingsConfigDict(
        extra="ignore",
        env_ignore_empty=True,
        case_sensitive=True,
        populate_by_name=True,
        validate_default=True,
        frozen=True,
    )

    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Refuse bases that use one field name for different variables: one service's secret would reach another."""
        seen: dict[str, Any] = {}
        for base in reversed(cls.__mro__[1:]):
            for name, field in getattr(base, "__pydantic_fields__", {}).items():
                if seen.setdefault(name, field.validation_alias) != field.validation_alias:
                    raise TypeError(f"{cls.__name__}: bases disagree about the variable of `{name}`")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return one line per bad value that was replaced by its default; the service logs them as WARN."""
        return self._warnings

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises ConfigError naming every unusable variable, never a value."""
        loaded: Self = load_all(cls)[0]
        return loaded

    def non_defaults(self) -> dict[str, str]:
        """Return the settings that differ from their default, by variable name, secrets as `[set]`."""
        shown: dict[str, str] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value != _default(field):
                shown[_names(name, field)[0]] = "[set]" if _is_secret(field) else str(value)
        return shown


def load_all(*classes: type[Settings]) -> tuple[Any, ...]:
    """Load several settings models and report the errors of all of them in one ConfigError.

    Returns one instance per class, in order.
    """
    loaded: list[Any] = []
    errors: list[str] = []
    for cls in classes:
        instance, found = _load_one(cls)
        errors.extend(line for line in found if line not in errors)
        loaded.append(instance)
    if errors:
        raise ConfigError("; ".join(errors), details={"settings": errors})
    return tuple(loaded)


def _load_one(cls: type[Settings]) -> tuple[Settings | None, list[str]]:
    overrides, errors = _read_secret_files(cls)
    warnings: list[str] = []
    # Further rounds: replacing a bad value by its default may uncover a check that spans several fields.
    for _ in range(3):
        try:
            settings = cls(**overrides)
        except ValidationError as failure:
            if not _sort_errors(cls, failure.errors(include_url=False), overrides, errors, warnings):
                break
        else:
            settings._warnings = tuple(warnings)
            return settings, errors
    return None, errors


def _sort_errors(
    cls: type[Settings],
    found: list[ErrorDetails],
    overrides: dict[str, Any],
    errors: list[str],
    warnings: list[str],
) -> bool:
    """Put each failure into ``errors`` or ``warnings``; return False when another try cannot succeed."""
    retry = False
    for error in found:
        name, field = _field_of(cls, error)
        variable = _names(name, field)[0] if field else cls.__name__
        where = str(error["loc"][0]) if error["loc"] else variable
        line = (
            f"{where}: {_expectation(error)}, got {_shape(error['input'])}" if field else _expectation(error)
        )
        if field is None or field.is_required() or _is_security(field):
            errors.append(line)
        else:
            warnings.append(f"{line}; using the default")
        if field is not None and not field.is_required():
            overrides[name] = _default(field)
            retry = True
    return retry


def _field_of(cls: type[Settings], error: ErrorDetails) -> tuple[str, FieldInfo | None]:
    key = str(error["loc"][0]) if error["loc"] else ""
    for name, field in cls.model_fields.items():
        if key == name or key in _names(name, field):
            return name, field
    return key, None


def _names(name: str, field: FieldInfo) -> list[str]:
    """Return the variable names of a field, the preferred one first."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [alias] if isinstance(alias, str) else [name]


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of an annotation: itself, or the members of a union."""
    if get_origin(annotation) in {Union, types.UnionType}:
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in _members(field.annotation)


def _is_security(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    marked = isinstance(extra, dict) and bool(extra.get("security"))
    return marked or _is_secret(field) or Address in _members(field.annotation)


def _read_secret_files(cls: type[Settings]) -> tuple[dict[str, Any], list[str]]:
    """Resolve `<NAME>_FILE` of secret fields (configuration spec §1.2)."""
    overrides: dict[str, Any] = {}
    errors: list[str] = []
    for name, field in cls.model_fields.items():
        if not _is_secret(field):
            continue
        for variable in _names(name, field):
            path = os.environ.get(f"{variable}_FILE", "")
            if not path:
                continue
            if os.environ.get(variable):
                errors.append(f"{variable}: expected either {variable} or {variable}_FILE, got both")
                continue
            try:
                overrides[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                errors.append(f"{variable}_FILE: expected a readable file, got: {reason.lower()}")
    return overrides, errors


def _expectation(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "expected a value"
    return error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")


def _shape(value: Any) -> str:
    """Describe a value without its text, which may be a secret."""
    if not isinstance(value, str):
        return f"a {type(value).__name__}" if value is not None and not isinstance(value, dict) else "nothing"
    if not value.strip():
        return "blank text"
    kind = "digits" if value.isdigit() else "letters" if value.isalpha() else "characters"
    return f"{len(value)} {kind}"
