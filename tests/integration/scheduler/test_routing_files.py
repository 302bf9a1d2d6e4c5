"""Files that change or break under a running scheduler (scheduler spec §23.3, §23.4)."""

from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from cordum._core import Planner
from cordum.config.scheduler import SchedulerSettings
from cordum.config.worker_trust import WorkerTrustSettings
from cordum.licensing import UNLIMITED
from cordum.runtime.clock import rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.boundary import Boundary
from cordum.scheduler.configuration import Configuration
from cordum.scheduler.routing_files import RoutingFiles, differences
from cordum.store import keys
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient

DIFFERS = "config file differs from stored section; delete cfg:system:default or apply the file to load it"


class Scene:
    """The configuration of one scheduler and the files it came from."""

    def __init__(self, folder: Path, redis: RedisClient) -> None:
        self.pools, self.timeouts = folder / "pools.yaml", folder / "timeouts.yaml"
        self.pools.write_text("topics: {job.a: p}\npools: {p: {}, q: {}}\n")
        self.timeouts.write_text("reconciler: {dispatch_timeout_seconds: 7}\n")
        settings = SchedulerSettings(
            pools_path=str(self.pools), timeouts_path=str(self.timeouts), config_reload_s=30
        )
        self.planner = Planner("s-1", 4)
        self.documents = ConfigDocuments(redis)
        self.redis = redis
        self.files = RoutingFiles(settings, production=False)
        boundary = Boundary(settings, WorkerTrustSettings())
        self.configuration = Configuration(settings, self.planner, redis, boundary, UNLIMITED, self.files)

    async def poll(self) -> list[dict[str, object]]:
        """Do what a poll does; return what it logs of the files."""
        with capture_logs() as logs:
            self.files.read_again()
            await self.configuration.start()
        return [dict(entry) for entry in logs if "file" in entry["event"]]

    async def route(self, topic: str, pool: str) -> None:
        """Change the stored routing as the API does."""

        def changed(document: object) -> dict[str, object]:
            data = dict(getattr(document, "data", {}))
            pools = orjson.loads(orjson.dumps(data["pools"]))
            pools["topics"][topic] = [pool]
            return {**data, "pools": pools}

        await self.documents.update("system", "default", changed, updated_at=rfc3339())


@pytest.fixture
async def scene(tmp_path: Path, redis_client: RedisClient) -> Scene:
    made = Scene(tmp_path, redis_client)
    await made.configuration.start()
    return made


@pytest.mark.parametrize("damage", ["topics: [", "pools: {}", None])
async def test_a_file_that_broke_is_told_once_and_holds_up_nothing(scene: Scene, damage: str | None) -> None:
    for path in (scene.pools, scene.timeouts):
        if damage is None:
            path.unlink()
        else:
            path.write_text(damage)
    await scene.route("job.b", "q")
    told = await scene.poll()
    assert [(entry["log_level"], str(entry["event"]).split(" file")[0]) for entry in told] == [
        ("warning", "pools"),
        ("warning", "time-outs"),
    ]
    assert scene.planner.pools_of("job.b") == ["q"]
    assert scene.configuration.dispatch_timeout_s == 7
    assert await scene.poll() == []
    # A deleted document comes back from what the files were.
    await scene.redis.execute("DEL", keys.config_document("system", "default"))
    await scene.poll()
    assert (scene.planner.pools_of("job.a"), scene.planner.pools_of("job.b")) == (["p"], [])
    assert scene.configuration.dispatch_timeout_s == 7


async def test_a_changed_file_is_told_with_its_differences_once_and_not_loaded(scene: Scene) -> None:
    scene.pools.write_text("topics: {job.a: q, job.c: p}\npools: {p: {requires: [gpu]}, q: {}}\n")
    (told,) = await scene.poll()
    assert (told["event"], told["log_level"], told["sections"]) == (DIFFERS, "warning", ["pools"])
    assert told["differences"] == {
        "pools": [
            "pools.p.requires: only in the file",
            "topics.job.a: changed",
            "topics.job.c: only in the file",
        ]
    }
    assert metrics.CONFIG_DRIFT.labels("pools")._value.get() == 1
    assert scene.planner.pools_of("job.a") == ["p"]
    assert await scene.poll() == []
    scene.pools.write_text("topics: {job.a: p}\npools: {p: {}, q: {}}\n")
    assert await scene.poll() == []
    assert metrics.CONFIG_DRIFT.labels("pools")._value.get() == 0


def test_differences_name_the_side_that_has_more() -> None:
    assert list(differences({"a": 1, "b": {"c": [1]}}, {"b": {"c": [2], "d": 0}})) == [
        "a: only stored",
        "b.c: changed",
        "b.d: only in the file",
    ]
    assert list(differences(None, {})) == ["(section): changed"]
    assert list(differences({"a": 1}, {"a": 1})) == []
