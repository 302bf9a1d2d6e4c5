"""The bundles of the policy, read from Redis and verified (policy spec §8, §10, §11.2)."""

from typing import Final

from cordum.config.kernel import KernelSettings
from cordum.domain.errors import CordumError, InvalidInput, Unavailable
from cordum.kernel.decisions import SharedRedis
from cordum.kernel.metrics import SIGNATURE_FAILURES
from cordum.runtime.logs import get_logger
from cordum.security.policy_signatures import SignatureRefused, TrustedKeys
from cordum.store.policy_bundles import Bundle, read_bundles, read_snapshots, remember_snapshot

__all__ = ["BundleSource"]

_AUDIT: Final = {"warn": "policy_signature_missing", "enforce": "policy_signature_rejected"}

_log = get_logger()


class BundleSource:
    """Reads the enabled bundles."""

    def __init__(self, redis: SharedRedis, keys: TrustedKeys, settings: KernelSettings) -> None:
        self._redis = redis
        self._keys = keys
        self._settings = settings
        self._strictness = settings.strictness
        self._reported: set[tuple[str, str, bytes]] = set()

    async def ping(self) -> None:
        """Raise Unavailable when Redis does not answer."""
        await (await self._redis.client()).ping()

    async def read(self) -> list[tuple[str, bytes]]:
        """Return (id, content) of the bundles to merge, in id order.

        Raises Unavailable when Redis does not answer, InvalidInput for a bundle that is too large, not a text, or
        not signed where signatures are enforced.
        """
        stored = await read_bundles(
            await self._redis.client(),
            scope=self._settings.config_scope,
            scope_id=self._settings.config_id,
            key=self._settings.config_key,
        )
        active = [bundle for bundle in stored if bundle.is_active]
        for bundle in active:
            self._check_size(bundle)
            self._check_signature(bundle)
        current = {(bundle.id, bundle.content) for bundle in active}
        self._reported = {entry for entry in self._reported if (entry[0], entry[2]) in current}
        return [(bundle.id, bundle.content) for bundle in active]

    def _check_size(self, bundle: Bundle) -> None:
        limit = self._settings.policy_max_bytes
        if len(bundle.content) > limit:
            raise InvalidInput(f"bundle {bundle.id}: expected at most {limit} bytes", code="policy_invalid")

    def _check_signature(self, bundle: Bundle) -> None:
        if self._strictness == "off":
            return
        try:
            self._keys.verify(bundle.content, bundle.signature)
        except SignatureRefused as refusal:
            known = (bundle.id, refusal.reason, bundle.content)
            if known not in self._reported:
                self._reported.add(known)
                SIGNATURE_FAILURES.labels(refusal.reason).inc()
                write = _log.error if self._strictness == "enforce" else _log.warning
                write(
                    "policy bundle signature",
                    audit_event=_AUDIT[self._strictness],
                    bundle=bundle.id,
                    reason=refusal.reason,
                )
            if self._strictness == "enforce":
                raise InvalidInput(f"bundle {bundle.id}: {refusal}", code="policy_invalid") from refusal

    async def remember(self, snapshot: str) -> None:
        """Add the active snapshot to the shared history, best effort."""
        try:
            await remember_snapshot(await self._redis.client(), snapshot)
        except CordumError as error:
            _log.warning("snapshot history not written", error=error.message)

    async def history(self) -> list[str]:
        """Return the shared history; empty when Redis does not answer."""
        try:
            return await read_snapshots(await self._redis.client())
        except Unavailable as error:
            _log.warning("snapshot history not read", error=error.message)
            return []
