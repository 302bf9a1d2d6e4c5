"""Topic registrations and pool names (packs spec §11, gateway spec §18, §19)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from cordum.domain.errors import InvalidInput

__all__ = [
    "STATUSES",
    "Topic",
    "is_pool_name",
    "is_topic_name",
    "registered",
    "seeded",
    "topic_key",
    "word_list",
]

STATUSES: Final = ("active", "deprecated", "disabled")
LIST_MAX: Final = 100
WORD_MAX: Final = 128
_NAME_MAX: Final = 256
_TOPIC: Final = re.compile(r"job\.[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_*-]+)*")
_POOL: Final = re.compile(r"[a-z0-9][a-z0-9-]*[a-z0-9]")
_TENANT_PREFIX: Final = "tenant:"
_TEXTS: Final = ("input_schema_id", "output_schema_id", "pack_id", "risk_tag_deriver")
_SHOWN: Final = ("input_schema_id", "output_schema_id", "pack_id")
CODE: Final = "TOPIC_SCHEMA_VIOLATION"


def is_topic_name(text: str) -> bool:
    """Tell whether a text may name a topic in the registry or in a pool."""
    return len(text) <= _NAME_MAX and _TOPIC.fullmatch(text) is not None


def is_pool_name(text: str) -> bool:
    """Tell whether a text may name a pool made through the API."""
    return 3 <= len(text) <= 63 and _POOL.fullmatch(text) is not None and "--" not in text


def topic_key(tenant: str, name: str) -> str:
    """Return the key of a record in the document; a blank ``tenant`` is everybody's."""
    return f"{_TENANT_PREFIX}{tenant}:{name}" if tenant else name


def _split_key(key: str) -> tuple[str, str]:
    if not key.startswith(_TENANT_PREFIX):
        return "", key
    tenant, _, name = key.removeprefix(_TENANT_PREFIX).partition(":")
    return tenant, name


def word_list(value: object, field: str, code: str) -> tuple[str, ...]:
    """Return a list of words trimmed, sorted, each once. Raises InvalidInput with ``code``."""
    if value is None:
        return ()
    if (
        not isinstance(value, list)
        or len(value) > LIST_MAX
        or not all(isinstance(item, str) for item in value)
    ):
        raise InvalidInput(f"{field}: expected a list of at most {LIST_MAX} texts", code=code, field=field)
    words = sorted({item.strip() for item in value} - {""})
    if any(len(word) > WORD_MAX or not word.isprintable() for word in words):
        raise InvalidInput(
            f"{field}: expected texts of at most {WORD_MAX} characters", code=code, field=field
        )
    return tuple(words)


@dataclass(frozen=True, slots=True)
class Topic:
    """One registration; without a tenant it is everybody's."""

    name: str
    tenant_id: str = ""
    pool: str = ""
    input_schema_id: str = ""
    output_schema_id: str = ""
    pack_id: str = ""
    requires: tuple[str, ...] = ()
    risk_tags: tuple[str, ...] = ()
    status: str = "active"
    risk_tag_deriver: str = ""

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> Self:
        """Check a request body. Raises InvalidInput `TOPIC_SCHEMA_VIOLATION`."""
        name = body.get("name")
        if not isinstance(name, str) or not is_topic_name(name.strip()):
            raise _invalid(f"topic must match job.* pattern: `{str(name)[:_NAME_MAX]}`", "name")
        name, status = name.strip(), body.get("status") or "active"
        if status not in STATUSES:
            raise _invalid(f"invalid topic status `{str(status)[:_NAME_MAX]}`", "status")
        pool = _text(body, "pool")
        if not pool and status != "disabled":
            raise _invalid(f"topic pool required for {name}", "pool")
        return cls(
            name,
            pool=pool,
            requires=word_list(body.get("requires"), "requires", CODE),
            risk_tags=word_list(body.get("risk_tags"), "risk_tags", CODE),
            status=status,
            **{field: _text(body, field) for field in _TEXTS},
        )

    @classmethod
    def of_record(cls, key: str, record: Mapping[str, Any]) -> Self:
        """Read a stored record; what is not there has its default."""
        tenant, name = _split_key(key)
        return cls(
            name,
            tenant,
            pool=str(record.get("pool") or ""),
            requires=tuple(map(str, record.get("requires") or ())),
            risk_tags=tuple(map(str, record.get("risk_tags") or ())),
            status=str(record.get("status") or "active"),
            **{field: str(record.get(field) or "") for field in _TEXTS},
        )

    @property
    def key(self) -> str:
        """Where the record is kept in the document."""
        return topic_key(self.tenant_id, self.name)

    @property
    def record(self) -> dict[str, Any]:
        """The record as stored; what is empty is left out."""
        texts = {"tenant_id": self.tenant_id, "pool": self.pool}
        texts |= {field: getattr(self, field) for field in _TEXTS}
        return {
            "name": self.name,
            **{field: text for field, text in texts.items() if text},
            "requires": list(self.requires),
            "risk_tags": list(self.risk_tags),
            "status": self.status,
        }

    @property
    def shown(self) -> dict[str, Any]:
        """The record as listed, without the number of its workers."""
        texts = {field: text for field in _SHOWN if (text := getattr(self, field))}
        return {
            "name": self.name,
            "pool": self.pool,
            **texts,
            "requires": list(self.requires),
            "risk_tags": list(self.risk_tags),
            "status": self.status,
        }

    def of_tenant(self, tenant: str) -> Self:
        """Return the same registration for one tenant, or, when blank, for everybody."""
        return replace(self, tenant_id=tenant)


def registered(data: Mapping[str, Any]) -> list[Topic]:
    """Return the registrations of a document; what is none is left out."""
    return [Topic.of_record(key, record) for key, record in data.items() if isinstance(record, Mapping)]


def seeded(topics: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the records of routed topics: active, for everybody, in the first pool of each."""
    return {
        name: Topic(name, pool=pools[0]).record
        for name, pools in topics.items()
        if pools and name.startswith("job.")
    }


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _NAME_MAX or not value.isprintable():
        raise _invalid(f"{field}: expected a text of at most {_NAME_MAX} characters", field)
    return value.strip()


def _invalid(message: str, field: str) -> InvalidInput:
    return InvalidInput(message, code="TOPIC_SCHEMA_VIOLATION", field=field)
