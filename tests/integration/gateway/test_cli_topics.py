"""`cordumctl topic` and `cordumctl pool` against a real gateway (CLI spec §8)."""

import orjson
import pytest

from cordum.runtime.clock import rfc3339
from cordum.store.connection import RedisClient
from tests.support.command_line import run_cordumctl as run
from tests.support.gateway import GatewayProcess, client
from tests.support.processes import wait_until


async def test_topics_and_pools_from_the_command_line(gateway: GatewayProcess, redis: RedisClient) -> None:
    assert await run(gateway, "topic", "list") == (0, "no topics registered\n", "")
    code, out, _ = await run(gateway, "pool", "create", "billing", "--requires", "gpu,net", "--requires", "x")
    assert (code, orjson.loads(out)["requires"]) == (0, ["gpu", "net", "x"])
    code, out, _ = await run(
        gateway, "topic", "create", "job.bill", "--pool", "billing", "--input-schema", "b-1"
    )
    assert (code, out) == (0, 'Topic "job.bill" registered\n')
    code, out, _ = await run(gateway, "topic", "create", "job.bill", "--pool", "billing")
    assert (code, out) == (0, 'Topic "job.bill" updated\n')
    code, out, _ = await run(gateway, "topic", "list", "--degraded")
    assert code == 1
    assert out.splitlines()[0].split("  ")[0] == "NAME"
    assert out.splitlines()[1].split() == ["job.bill", "billing", "-", "-", "active", "0", "degraded"]
    worker = {"worker_id": "w", "pool": "billing", "active_jobs": 1, "max_parallel_jobs": 4, "age_ms": 1}
    snapshot = {"captured_at": rfc3339(), "workers": [worker]}
    await redis.execute("SET", "sys:workers:snapshot", orjson.dumps(snapshot))
    assert await run(gateway, "topic", "list", "--degraded") == (0, "no such topics\n", "")
    code, out, _ = await run(gateway, "pool", "list")
    assert (code, out.splitlines()[1].split()) == (0, ["billing", "1", "1", "4", "25%"])
    code, _, err = await run(gateway, "pool", "delete", "billing")
    assert code == 1
    assert "queued jobs 1" in err
    assert "agents w" in err
    assert "POOL_IN_USE" in err
    assert (await run(gateway, "pool", "topic", "add", "billing", "job.more"))[0] == 0
    assert orjson.loads((await run(gateway, "pool", "get", "billing"))[1])["topics"] == [
        "job.bill",
        "job.more",
    ]
    code, out, _ = await run(gateway, "pool", "list", "-o", "id")
    assert (code, out) == (0, "billing\n")
    assert (await run(gateway, "pool", "topic", "remove", "billing", "job.more"))[0] == 0
    code, out, _ = await run(gateway, "pool", "drain", "billing", "--timeout", "60")
    assert (code, out) == (0, 'Pool "billing" draining\n')
    code, out, _ = await run(gateway, "pool", "update", "billing", "--status", "active")
    assert orjson.loads(out)["status"] == "active"
    assert await run(gateway, "topic", "delete", "job.bill") == (0, 'Topic "job.bill" deleted\n', "")
    code, out, err = await run(gateway, "topic", "delete", "job.bill")
    assert (code, out, "not registered" in err) == (0, "", True)
    async with client(gateway, "alice") as alice:

        async def free() -> bool:
            answer = await alice.post("/jobs", json={"prompt": "x", "topic": "job.unheard.of"})
            return answer.status_code == 200

        await wait_until(free)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("topic", "create", "mail.send", "--pool", "p"), "topic must match job.* pattern"),
        (("topic", "create", "job.a"), "topic pool required for job.a"),
        (("topic", "create", "job.a", "--pool", "p", "--status", "off"), "--status: expected one of"),
        (("pool", "create", "a--b"), "pool name: expected"),
        (("pool", "update", "abc", "--status", "off"), "--status: expected one of"),
    ],
)
async def test_faults_are_found_before_anything_is_sent(
    gateway: GatewayProcess, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = await run(gateway, *arguments)
    assert (code, out) == (1, "")
    assert message in err
