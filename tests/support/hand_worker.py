"""A worker that a test plays by hand: it announces itself, and sends only the results it is told to send."""

from collections.abc import Sequence

from cap.handshake import publish_handshake
from cap.heartbeat import emit_heartbeat, heartbeat_payload
from nats.aio.client import Client

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobResult
from cordum.runtime.clock import now_us
from cordum.store.blobs import BlobStore
from tests.support.observer import SeenDispatch
from tests.support.worker_log import Handled


class HandWorker:
    """Receives nothing itself; the test takes the dispatches from an observer."""

    def __init__(self, client: Client, blobs: BlobStore, worker_id: str, pool: str, token: str = "") -> None:
        self.worker_id = worker_id
        self._client = client
        self._blobs = blobs
        self._pool = pool
        self._token = token
        self._log: list[Handled] = []

    async def announce(self, *topics: str) -> None:
        """Send a handshake and one heartbeat."""
        await publish_handshake(self._client, self.worker_id, ready_topics=list(topics))
        await self.beat()

    async def beat(self) -> None:
        """Send one heartbeat with plenty of room."""
        payload = heartbeat_payload(self.worker_id, self._pool, 0, 100, 0.0, auth_token=self._token)
        await emit_heartbeat(self._client, payload)

    def handled(self) -> list[Handled]:
        """Return the dispatches this worker has worked on."""
        return self._log

    async def work(self, dispatch: SeenDispatch) -> None:
        """Do the work of a dispatch without reporting it."""
        await self._blobs.set_result(dispatch.job_id, b'{"by": "hand"}')
        self._log.append(Handled(dispatch.job_id, dispatch.dispatch_id, dispatch.attempt, ""))

    async def report(
        self,
        job_id: str,
        status: int,
        *,
        dispatch_id: str = "",
        worker_id: str = "",
        error_message: str = "",
        artifact_ptrs: Sequence[str] = (),
        result_ptr: str | None = None,
        copies: int = 1,
    ) -> None:
        """Publish a result; an empty ``dispatch_id`` is left out, as by an older worker."""
        result = JobResult(
            job_id=job_id,
            status=status,
            worker_id=worker_id or self.worker_id,
            result_ptr=f"redis://res:{job_id}" if result_ptr is None else result_ptr,
            error_message=error_message,
            artifact_ptrs=artifact_ptrs,
        )
        if dispatch_id:
            result.dispatch.dispatch_id = dispatch_id
        packet = BusPacket(trace_id=job_id, sender_id=result.worker_id, protocol_version=1, job_result=result)
        packet.created_at.FromMicroseconds(now_us())
        for _ in range(copies):
            await self._client.publish(subjects.RESULT, packet.SerializeToString(deterministic=True))
        await self._client.flush()
