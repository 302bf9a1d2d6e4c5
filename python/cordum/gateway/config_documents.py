"""Configuration documents as callers read and write them (configuration spec §5.4, packs spec §10.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from cordum.audit import AuditEvent
from cordum.config.files import PoolsFile, TimeoutsFile
from cordum.domain.errors import Conflict, Forbidden, InvalidInput
from cordum.gateway.document_edits import EVENT, DocumentEdits, Edit
from cordum.gateway.policy_audit import Act
from cordum.gateway.policy_documents import Bundles, PolicyDocuments
from cordum.security.principal import Caller
from cordum.store.config_documents import Document
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.policy_bundles import BUNDLES_KEY

__all__ = ["SYSTEM_ID", "ConfigEditor", "ConfigWrite", "name_of"]

SYSTEM_ID: Final = "default"
_SCOPES: Final = frozenset({"system", "org", "team", "workflow", "step"})
_SYSTEM_IDS: Final = frozenset({SYSTEM_ID, "policy", "packs", "pack_catalogs"})
"""The other system documents are written by routes of their own."""
_POLICY: Final = ("system", "policy")
_ID_MAX: Final = 256
_FAULTS_MAX: Final = 50
_MODELS: Final[dict[str, type[BaseModel]]] = {"pools": PoolsFile, "timeouts": TimeoutsFile}
_SCHEMA_MODES: Final = ("off", "warn", "enforce")
_TOPIC_LISTS: Final = ("denied_topics", "allowed_topics")

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ConfigWrite:
    """Top-level keys of ``data`` replace stored ones, None deletes one; a ``revision`` has to be the stored one."""

    data: Mapping[str, Any]
    meta: Mapping[str, str]
    revision: int | None = None


def name_of(scope: object, scope_id: object, caller: Caller) -> Name:
    """Return the document a caller means. Raises InvalidInput, Forbidden `CONFIG_KEY_FORBIDDEN`."""
    if not isinstance(scope, str) or scope not in _SCOPES:
        raise _invalid(f"scope: expected one of {', '.join(sorted(_SCOPES))}", "scope")
    if not isinstance(scope_id, str) or len(scope_id) > _ID_MAX or not scope_id.isprintable():
        raise _invalid(f"scope_id: expected a text of at most {_ID_MAX} characters", "scope_id")
    if scope == "system":
        scope_id = scope_id or SYSTEM_ID
        if scope_id not in _SYSTEM_IDS:
            raise _forbidden(f"system/{scope_id} has no configuration to read or write here")
    elif scope == "org":
        scope_id = scope_id or caller.tenant
        if scope_id != caller.tenant and not caller.cross_tenant:
            raise _forbidden("the configuration of another tenant")
    if not scope_id:
        raise _invalid("scope_id: expected an id", "scope_id")
    return scope, scope_id


class ConfigEditor:
    """Reads and writes; policy bundles go the way of every policy change."""

    def __init__(self, edits: DocumentEdits, policies: PolicyDocuments, configs: EffectiveConfigs) -> None:
        self._edits = edits
        self._policies = policies
        self._configs = configs

    async def read(self, name: Name, caller: Caller) -> Document | None:
        """Return a document without what is not for callers. Raises Forbidden for one of another tenant."""
        document = await self._edits.documents.get(*name)
        if document is None:
            return None
        _require_owner(document, caller)
        meta = {key: value for key, value in document.meta.items() if key != EVENT}
        return Document(*name, document.data, document.revision, document.updated_at, meta)

    async def write(self, name: Name, write: ConfigWrite, caller: Caller) -> None:
        """Change a document, tell everybody, and record it.

        Raises InvalidInput `CONFIG_SCHEMA_VIOLATION`, Forbidden, Conflict `CONFIG_VERSION_CONFLICT`, Unavailable;
        nothing is then stored.
        """
        if name == _POLICY:
            await self._write_policy(write, caller)
            return
        _require_valid(name, write.data)

        def change(current: Document) -> Edit:
            _require_owner(current, caller)
            if write.revision is not None and write.revision != current.revision:
                raise Conflict("config update conflict — retry", code="CONFIG_VERSION_CONFLICT")
            return _edit(current, write, caller)

        await self._edits.edit(name, change, caller)

    async def _write_policy(self, write: ConfigWrite, caller: Caller) -> None:
        foreign = [key for key in write.data if key != BUNDLES_KEY]
        bundles = write.data.get(BUNDLES_KEY)
        if foreign or not isinstance(bundles, Mapping):
            raise _violation({foreign[0] if foreign else BUNDLES_KEY: "expected an object `bundles` only"})
        unusable = [
            f"{BUNDLES_KEY}.{bundle_id}"
            for bundle_id, value in bundles.items()
            if not (isinstance(value, Mapping) and isinstance(value.get("content"), str))
        ]
        if unusable:
            raise _violation(
                dict.fromkeys(unusable[:_FAULTS_MAX], "expected an object with a text `content`")
            )

        def change(stored: Bundles) -> None:
            for bundle_id in set(stored) - set(bundles):
                del stored[bundle_id]
            for bundle_id, value in bundles.items():
                if stored.get(bundle_id) != value:
                    members = {key: part for key, part in value.items() if key != "content"}
                    self._policies.replace(stored, bundle_id, content=value["content"], **members)

        act = Act(caller, "config.set", str(write.meta.get("message", "")))
        await self._policies.edit(change, act, revision=write.revision)
        self._configs.drop()


def _edit(current: Document, write: ConfigWrite, caller: Caller) -> Edit:
    data = {**current.data, **write.data}
    data = {key: value for key, value in data.items() if value is not None}
    changed = sorted(key for key in write.data if current.data.get(key) != data.get(key))
    meta = dict(write.meta)
    if current.scope not in {"system", "org"}:
        meta["tenant"] = current.meta.get("tenant") or caller.tenant
    return Edit(data, _event(current, changed, caller), meta)


def _require_owner(document: Document, caller: Caller) -> None:
    owner = document.meta.get("tenant")
    if document.scope in {"system", "org"} or not owner or caller.cross_tenant or owner == caller.tenant:
        return
    raise _forbidden("the configuration of another tenant")


def _require_valid(name: Name, data: Mapping[str, Any]) -> None:
    if name == ("system", SYSTEM_ID) and BUNDLES_KEY in data:
        raise InvalidInput(
            "bundles must be written to system/policy scope, not system/default",
            code="CONFIG_KEY_FORBIDDEN",
            field=BUNDLES_KEY,
        )
    faults: dict[str, str] = {}
    for section, model in _MODELS.items():
        if data.get(section) is not None:
            faults |= _model_faults(section, model, data[section])
    if data.get("safety") is not None:
        faults |= _safety_faults(data["safety"])
    faults |= {
        section: "expected an object"
        for section in ("limits", "rate_limits")
        if data.get(section) is not None and not isinstance(data[section], Mapping)
    }
    if data.get("boundary") is not None:
        faults |= _boundary_faults(data["boundary"])
    if faults:
        raise _violation(faults)


def _model_faults(section: str, model: type[BaseModel], value: object) -> dict[str, str]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return {
            ".".join([section, *map(str, one["loc"])]): one["msg"] for one in error.errors()[:_FAULTS_MAX]
        }
    return {}


def _boundary_faults(boundary: object) -> dict[str, str]:
    if not isinstance(boundary, Mapping):
        return {"boundary": "expected an object"}
    mode = boundary.get("schema_enforcement")
    if mode is not None and mode not in _SCHEMA_MODES:
        return {"boundary.schema_enforcement": f"expected one of {', '.join(_SCHEMA_MODES)}"}
    return {}


def _safety_faults(safety: object) -> dict[str, str]:
    """What the kernel could not read: it denies every job of the scope then (policy spec §6.8)."""
    if not isinstance(safety, Mapping):
        return {"safety": "expected an object"}
    faults = {
        f"safety.{name}": "expected a list of topic patterns"
        for name in _TOPIC_LISTS
        if safety.get(name) is not None and not _is_topic_list(safety[name])
    }
    mcp = safety.get("mcp")
    if mcp is not None and not isinstance(mcp, Mapping):
        faults["safety.mcp"] = "expected an object"
    for name, value in mcp.items() if isinstance(mcp, Mapping) else ():
        is_list = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        if name.startswith(("allow_", "deny_")) and not is_list:
            faults[f"safety.mcp.{name}"] = "expected a list of texts"
    return faults


def _is_topic_list(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(
        isinstance(pattern, str) and not pattern.endswith("\\") and pattern.count("[") == pattern.count("]")
        for pattern in value
    )


def _event(document: Document, changed: list[str], caller: Caller) -> AuditEvent:
    return AuditEvent(
        "safety.policy_change" if "safety" in changed else "system.config",
        "HIGH" if "safety" in changed else "MEDIUM",
        caller.tenant,
        "config.set",
        identity=caller.effective_principal,
        reason=f"set config {document.scope}/{document.scope_id}",
        extra={
            "scope": document.scope,
            "scope_id": document.scope_id,
            "paths": ",".join(changed)[:1_000],
            "revision": str(document.revision + 1),
            "role": caller.role,
        },
    )


def _violation(faults: Mapping[str, str]) -> InvalidInput:
    listed = [{"field": field, "message": message} for field, message in faults.items()]
    return InvalidInput(
        "configuration does not fit its schema: " + ", ".join(faults),
        code="CONFIG_SCHEMA_VIOLATION",
        field=next(iter(faults)),
        details={"field_errors": listed},
    )


def _invalid(message: str, field: str) -> InvalidInput:
    return InvalidInput(message, code="CONFIG_REQUEST_INVALID", field=field)


def _forbidden(message: str) -> Forbidden:
    return Forbidden(f"not allowed: {message}", code="CONFIG_KEY_FORBIDDEN")
