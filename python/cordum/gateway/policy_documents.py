"""Policy bundles as operators change them: validated as a whole, signed, mirrored, announced (policy spec §18)."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
import structlog

from cordum.bus.connection import Bus
from cordum.config.gateway import GatewaySettings
from cordum.domain.errors import Conflict, CordumError, InvalidInput, NotFound, Unavailable
from cordum.domain.policy_problems import problem_json
from cordum.gateway.own_writes import OwnWrites
from cordum.gateway.packets import config_changed
from cordum.gateway.policy_audit import EVENT_KEY, Act, PolicyAudit
from cordum.protocol import subjects
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import now_us, rfc3339
from cordum.security.policy_signatures import Signer
from cordum.security.signing_key import read_signer
from cordum.store import keys
from cordum.store.config_documents import DOCUMENT_MAX_BYTES, ConfigDocuments, Document
from cordum.store.connection import RedisClient
from cordum.store.policy_bundles import (
    BUNDLES_KEY,
    SCOPE,
    SCOPE_ID,
    bundles_snapshot,
    enabled_sources,
    parse_bundles,
    read_mirror,
)
from cordum.v1 import safety_batch_pb2

__all__ = ["Bundles", "PolicyDocuments"]

Bundles = dict[str, dict[str, Any]]
Change = Callable[[Bundles], None]

SNAPSHOTS_ID: Final = "policy_snapshots"
SNAPSHOTS_MAX: Final = 10
SNAPSHOTS_MAX_BYTES: Final = (SNAPSHOTS_MAX + 1) * DOCUMENT_MAX_BYTES
"""Each snapshot holds what fits into one document, and publishing must not end because ten of them do not."""
PREVIEW_TIMEOUT_S: Final = 25.0
"""A comparison of two policies takes up to ten seconds, and one runs at a time."""
TESTS_TIMEOUT_S: Final = 15.0
FAILED_TESTS_MAX: Final = 50
"""Failed tests named when a write is refused."""
_WARN: Final = frozenset({"", "warn"})
_ENFORCE: Final = frozenset({"enforce", "strict", "required", "true", "1"})

_log = structlog.get_logger("cordum.gateway")


class PolicyDocuments:
    """The bundles of `cfg:system:policy`. Every write is one compare-and-set on the document's revision."""

    def __init__(
        self,
        redis: RedisClient,
        kernel: PolicyClient,
        bus: Bus,
        settings: GatewaySettings,
        audit: PolicyAudit,
    ) -> None:
        self._redis = redis
        self._audit = audit
        self._documents = ConfigDocuments(redis)
        self._kernel = kernel
        self._bus = bus
        self.own_writes = OwnWrites()
        strict = settings.policy_strict.strip().lower()
        self._enforced = strict in _ENFORCE or (not strict and settings.production)
        self._signer = _signer(settings)

    async def read(self) -> tuple[Bundles, str]:
        """Return the stored bundles and when they changed last. Raises Unavailable."""
        document = await self._documents.get(SCOPE, SCOPE_ID)
        return (_bundles(document), document.updated_at) if document else ({}, "")

    async def state(self) -> tuple[Bundles, Document]:
        """Return the stored bundles and their document, revision 0 when there is none. Raises Unavailable."""
        document = await self._documents.get(SCOPE, SCOPE_ID) or Document(SCOPE, SCOPE_ID)
        return _bundles(document), document

    async def decide_with(
        self, bundle_id: str, content: str, request: PolicyCheckRequest, timeout_s: float
    ) -> PolicyCheckResponse:
        """Say what would be decided if one bundle were enabled and, unless blank, had this content.

        Nothing is stored or counted. Raises NotFound for a bundle neither stored nor given, InvalidInput
        `POLICY_VALIDATION_FAILED`, Unavailable.
        """
        bundles, _ = await self.read()
        if content.strip():
            bundles[bundle_id] = {"content": content}
        elif bundle_id not in bundles:
            raise NotFound("bundle not found")
        bundles[bundle_id]["enabled"] = True
        checked = await self._kernel.decide_with(enabled_sources(parse_bundles(bundles)), request, timeout_s)
        self._warnings(checked)
        return PolicyCheckResponse.FromString(checked.response)

    async def get(self, bundle_id: str) -> dict[str, Any]:
        """Return one bundle. Raises NotFound."""
        bundles, _ = await self.read()
        if bundle_id not in bundles:
            raise NotFound("bundle not found")
        return bundles[bundle_id]

    async def put(
        self, bundle_id: str, content: str, act: Act, *, enabled: bool, author: str, message: str
    ) -> tuple[dict[str, Any], list[str]]:
        """Write one bundle; return it and the warnings of the merged policy.

        Raises InvalidInput `POLICY_VALIDATION_FAILED` with every problem, Conflict, also `POLICY_TESTS_FAILED` when
        it is ``enabled`` and a test of the merged policy fails, Unavailable; nothing is then written.
        """

        def change(bundles: Bundles) -> None:
            self.replace(bundles, bundle_id, content=content, enabled=enabled, author=author, message=message)

        bundles, warnings = await self.edit(change, act, tested=enabled)
        return bundles[bundle_id], warnings

    def replace(self, bundles: Bundles, bundle_id: str, *, content: str, **fields: Any) -> None:
        """Put a bundle into the map as it is to be stored: dated, hashed, signed. For use within `edit`.

        ``fields`` are its other members (policy spec §8.2); those not given stay.
        """
        before = bundles.get(bundle_id, {})
        now = _now()
        bundles[bundle_id] = {
            **{name: value for name, value in before.items() if name not in ("policy", "data")},
            **fields,
            "content": content,
            "created_at": before.get("created_at") or now,
            "updated_at": now,
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
        }
        self._sign(bundles[bundle_id])

    async def delete(self, bundle_id: str, act: Act) -> None:
        """Remove one bundle. Raises NotFound."""

        def change(bundles: Bundles) -> None:
            if bundles.pop(bundle_id, None) is None:
                raise NotFound("bundle not found")

        await self.edit(change, act)

    async def publish(self, ids: list[str], act: Act, *, author: str, note: str) -> dict[str, Any]:
        """Enable bundles (none named: all of `secops/`) and keep a snapshot before and after.

        Raises as `put` does; nothing is then stored.
        """
        published: list[str] = []

        def change(bundles: Bundles) -> None:
            published[:] = _enable(bundles, ids)

        await self._rehearse(change, act)
        before = await self.capture(author=author, note=note)
        _, warnings = await self.edit(change, act, tested=True)
        after = await self.capture(author=author, note=note)
        answer = {
            "snapshot_before": before["id"],
            "snapshot_after": after["id"],
            "published": published,
            "id": after["id"],
            "created_at": after["created_at"],
        }
        return answer | ({"warnings": warnings} if warnings else {})

    async def preview_publish(self, ids: list[str]) -> dict[str, Any]:
        """Say which requests would change verdict if these bundles were published, and which tests would fail; nothing
        is stored.

        Raises InvalidInput, Unavailable.
        """
        bundles, _ = await self.read()
        published = _enable(bundles, ids)
        checked = await self._kernel.check_policy(
            enabled_sources(parse_bundles(bundles)), PREVIEW_TIMEOUT_S, compare=True, run_tests=True
        )
        warnings = self._warnings(checked)
        run = orjson.loads(checked.tests)
        return {
            "dry_run": True,
            "published": published,
            "policy_snapshot": checked.policy_snapshot,
            "warnings": warnings,
            "diff": orjson.loads(checked.diff),
            "tests": {"passed": run["passed"], "failed": run["failed"], "cases": _failed(run)},
        }

    async def rollback(self, snapshot_id: str, act: Act, *, author: str, note: str) -> dict[str, Any]:
        """Put the bundles of a snapshot back, capturing the current ones first.

        Raises NotFound, else as `put` does; nothing is then stored.
        """
        snapshot = await self.snapshot(snapshot_id)

        def change(bundles: Bundles) -> None:
            bundles.clear()
            bundles.update({name: dict(bundle) for name, bundle in snapshot["bundles"].items()})

        await self._rehearse(change, act)
        before = await self.capture(author=author, note=note)
        await self.edit(change, act, tested=True)
        after = await self.capture(author=author, note=note)
        return {"snapshot_before": before["id"], "snapshot_after": after["id"], "rollback_to": snapshot_id}

    async def capture(self, *, author: str, note: str) -> dict[str, Any]:
        """Keep the bundles as they are; the newest ten snapshots stay."""
        bundles, _ = await self.read()
        digest = bundles_snapshot(parse_bundles(bundles)).removeprefix("cfg:")
        created = rfc3339()
        entry = {
            "id": f"{created}-{(digest or '0' * 10)[:10]}",
            "created_at": _now(),
            "note": note,
            "author": author,
            "bundles": bundles,
        }

        def change(document: Document) -> dict[str, Any]:
            kept = [entry, *document.data.get("snapshots", [])][:SNAPSHOTS_MAX]
            return {**document.data, "snapshots": kept}

        await self._documents.update(
            SCOPE, SNAPSHOTS_ID, change, updated_at=_now(), max_bytes=SNAPSHOTS_MAX_BYTES
        )
        return entry

    async def snapshots(self) -> list[dict[str, Any]]:
        """Return the kept snapshots, newest first."""
        document = await self._documents.get(SCOPE, SNAPSHOTS_ID)
        return list(document.data.get("snapshots", [])) if document else []

    async def snapshot(self, snapshot_id: str) -> dict[str, Any]:
        """Return one snapshot. Raises NotFound."""
        for entry in await self.snapshots():
            if entry.get("id") == snapshot_id:
                return entry
        raise NotFound("snapshot not found")

    def _sign(self, bundle: dict[str, Any]) -> None:
        bundle.pop("_signature", None)
        if self._signer is not None:
            bundle["_signature"] = self._signer.sign(bundle["content"].encode())

    async def _rehearse(self, change: Change, act: Act) -> None:
        """Raise what writing ``change`` would raise now, so that nothing is stored on its behalf before."""
        self._require_signer()
        bundles, _ = await self.read()
        change(bundles)
        await self._check(bundles, tested=not act.skips_tests)

    def _require_signer(self) -> None:
        if self._enforced and self._signer is None:
            raise Unavailable(
                "policy signing key required",
                code="POLICY_SIGNING_REQUIRED",
                hint="set CORDUM_POLICY_SIGNING_KEY",
            )

    async def edit(
        self, change: Change, act: Act, *, revision: int | None = None, tested: bool | None = None
    ) -> tuple[Bundles, list[str]]:
        """Apply ``change`` to the bundles if the merged policy is then valid; again when somebody else was first.

        Unless ``tested`` says, the merged policy must pass its tests when an enabled bundle is new or other than before
        (docs/policy-tests.md). Returns the bundles and the warnings of the merged policy. With a ``revision`` nothing
        else may have been written since. Raises what ``change`` raises, InvalidInput `POLICY_VALIDATION_FAILED`,
        Conflict, Unavailable; nothing is then written.
        """
        self._require_signer()
        for _ in range(5):
            current = await self._documents.get(SCOPE, SCOPE_ID) or Document(SCOPE, SCOPE_ID)
            if revision is not None and revision != current.revision:
                break
            stored, bundles = _bundles(current), _bundles(current)
            before = _readable_sources(bundles)
            change(bundles)
            is_new = not before.issuperset(enabled_sources(parse_bundles(bundles)))
            runs_tests = (is_new if tested is None else tested) and not act.skips_tests
            warnings = await self._check(bundles, tested=runs_tests)
            await self._audit.settle(current)
            event = self._audit.event(act, stored, bundles)
            try:
                written = await self._documents.put(
                    SCOPE,
                    SCOPE_ID,
                    {**current.data, BUNDLES_KEY: bundles, EVENT_KEY: event},
                    expected_revision=current.revision,
                    updated_at=_now(),
                    meta=current.meta,
                )
            except Conflict:
                continue
            self.own_writes.note(bundles_snapshot(parse_bundles(bundles)))
            await self._audit.finish(event)
            await self._announce(written, bundles)
            return bundles, warnings
        raise Conflict("the policy was changed by somebody else", code="POLICY_VERSION_CONFLICT")

    async def settle_audit(self) -> None:
        """Bring the event of the last write into the audit chain if it is not there yet. Raises Unavailable."""
        document = await self._documents.get(SCOPE, SCOPE_ID)
        if document is not None:
            await self._audit.settle(document)

    async def _check(self, bundles: Bundles, *, tested: bool) -> list[str]:
        sources = enabled_sources(parse_bundles(bundles))
        if not tested:
            return self._warnings(await self._kernel.check_policy(sources))
        checked = await self._kernel.check_policy(sources, TESTS_TIMEOUT_S, run_tests=True)
        warnings = self._warnings(checked)
        require_passed(checked.tests)
        return warnings

    def _warnings(self, checked: safety_batch_pb2.CheckPolicyResponse) -> list[str]:
        """Return what is to be said about a policy that may be stored. Raises InvalidInput for one that may not."""
        if checked.problems:
            problems = [problem_json(one.path, one.message, one.line) for one in checked.problems]
            text = "; ".join(
                f"{one.path}: {one.message}" if one.path else one.message for one in checked.problems
            )
            raise InvalidInput(
                f"invalid policy content: {text[:4_000]}",
                code="POLICY_VALIDATION_FAILED",
                details={"errors": problems},
            )
        unsigned = ["stored without a signature"] if self._signer is None else []
        return [*checked.warnings, *unsigned]

    async def align_mirror(self) -> None:
        """Write the mirror where it is not that of the document; recreate a document that is gone from its mirror, when
        nobody else did (policy spec §8.1).

        Raises Unavailable, CordumError for a document or mirror that cannot be read.
        """
        document = await self._documents.get(SCOPE, SCOPE_ID)
        mirrored = await read_mirror(self._redis)
        if document is not None:
            bundles = _bundles(document)
            if mirrored != _mirror(document, bundles):
                await self._announce(document, bundles)
            return
        if mirrored is None:
            return
        bundles = _bundles(Document(SCOPE, SCOPE_ID, mirrored))
        try:
            written = await self._documents.put(
                SCOPE, SCOPE_ID, {BUNDLES_KEY: bundles}, expected_revision=0, updated_at=_now()
            )
        except Conflict:
            return
        _log.warning("policy document restored from its mirror", bundles=len(bundles))
        await self._announce(written, bundles)

    async def _announce(self, document: Document, bundles: Mapping[str, Any]) -> None:
        """Update the mirror and tell everybody; the write stands when this fails, polling finds it."""
        try:
            await self._redis.execute("SET", keys.POLICIES_MIRROR, orjson.dumps(_mirror(document, bundles)))
            await self._bus.publish_core(subjects.CONFIG_CHANGED, config_changed(SCOPE, SCOPE_ID))
        except CordumError as error:
            _log.warning("policy change not announced", reason=error.message)


def _mirror(document: Document, bundles: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "revision": document.revision,
        "updated_at": document.updated_at,
        "snapshot": bundles_snapshot(parse_bundles(bundles)),
        "bundles": dict(bundles),
    }


def _readable_sources(bundles: Bundles) -> set[tuple[str, bytes]]:
    """Return what decides before a change, nothing when that cannot be read: the change may be the repair."""
    try:
        return set(enabled_sources(parse_bundles(bundles)))
    except InvalidInput:
        return set()


def _signer(settings: GatewaySettings) -> Signer | None:
    """Return the configured signer, the development one last. Raises ConfigError for an unusable key."""
    signer = read_signer(settings)
    named = settings.signing_key.get_secret_value() or settings.signing_key_path
    if signer is not None and not named:
        _log.warning("policy bundles are signed with a development key")
    return signer


def require_passed(report: bytes) -> None:
    """Raise Conflict `POLICY_TESTS_FAILED` unless every test of the report of a merged policy passed."""
    if not report:
        raise Unavailable("the safety kernel did not run the tests of the policy")
    run = orjson.loads(report)
    if run["failed"]:
        cases = _failed(run)
        named = ", ".join(f"`{case['name'][:128]}` of {case['source']}" for case in cases[:5])
        raise Conflict(
            f"{run['failed']} of the policy's tests fail: {named}",
            code="POLICY_TESTS_FAILED",
            details={"failed": cases, "failed_count": run["failed"], "passed_count": run["passed"]},
        )


def _failed(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [case for case in run["cases"] if not case["passed"]][:FAILED_TESTS_MAX]


def _enable(bundles: Bundles, ids: list[str]) -> list[str]:
    """Enable the bundles named (none: all of `secops/`); return which. Raises InvalidInput."""
    chosen = ids or [name for name in bundles if name.startswith("secops/")]
    if not bundles:
        raise InvalidInput("no bundles configured")
    if not chosen:
        raise InvalidInput("no policy bundles to publish")
    for name in chosen:
        if name not in bundles:
            raise InvalidInput(f"unknown bundle `{name[:128]}`", field="bundle_ids")
        bundles[name]["enabled"] = True
    return chosen


def _bundles(document: Document | None) -> Bundles:
    stored = document.data.get(BUNDLES_KEY) if document else None
    if not isinstance(stored, Mapping):
        return {}
    return {
        str(name): dict(value) if isinstance(value, Mapping) else {"content": str(value)}
        for name, value in stored.items()
    }


def _now() -> str:
    return rfc3339(now_us() // 1_000_000 * 1_000_000)
