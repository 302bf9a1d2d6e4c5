"""A development seed signs bundles that an enforcing kernel trusts (policy spec §11.2)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cordum.config.gateway import GatewaySettings
from cordum.config.kernel import KernelSettings
from cordum.domain.errors import ConfigError
from cordum.security.policy_signatures import Signer, TrustedKeys
from cordum.store.connection import RedisClient
from tests.support.gateway import POLICY, GatewayProcess, client
from tests.support.kernel import KernelProcess
from tests.support.processes import wait_until

SEED = "only for development"
DENY = "rules: [{id: never, match: {topics: [job.echo]}, decision: deny}]"
SEEDED = {"CORDUM_POLICY_DEV_SIGNING_SEED": SEED, "CORDUM_POLICY_SIGNING_KEY_ID": "dev"}


async def test_bundles_signed_with_the_seed_pass_where_signatures_are_enforced(
    tmp_path: Path, emptied_redis: str, gateway_nats: str, redis: RedisClient
) -> None:
    shared = {
        **SEEDED,
        "REDIS_URL": emptied_redis,
        "NATS_URL": gateway_nats,
        "CORDUM_POLICY_STRICT": "enforce",
    }
    kernel = KernelProcess(tmp_path, POLICY, SAFETY_POLICY_CONFIG_DISABLE="", **shared)
    kernel.start()
    gateway = GatewayProcess(tmp_path, SAFETY_KERNEL_ADDR=kernel.address, **shared).start()
    try:
        async with client(gateway, "alice") as alice:
            body = {"sections": {"invariants": {"content": DENY}}}
            written = await alice.put("/policy/global", json=body)
            assert written.status_code == 200, written.text
            bundle = (await alice.get("/policy/bundles")).json()["bundles"]["secops/invariants"]

            async def denied() -> bool:
                answer = (await alice.post("/policy/simulate", json={"topic": "job.echo"})).json()
                return bool(answer["rule_id"] == "never")

            await wait_until(denied)
    finally:
        gateway.stop()
        kernel.stop()
    trusted = TrustedKeys()
    trusted.add(Signer.from_seed(SEED, "dev").public)
    assert trusted.verify(DENY.encode(), bundle["_signature"]) == "dev"


@pytest.mark.parametrize("settings", [GatewaySettings, KernelSettings])
def test_a_seed_in_production_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, settings: type[GatewaySettings] | type[KernelSettings]
) -> None:
    for name, value in {**SEEDED, "CORDUM_ENV": "production", "CORDUM_API_KEY": "k" * 40}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="CORDUM_POLICY_DEV_SIGNING_SEED"):
        settings.load()


def test_the_command_signs_with_the_seed_and_refuses_it_in_production(tmp_path: Path) -> None:
    policy = tmp_path / "safety.yaml"
    policy.write_text(POLICY)
    command = [sys.executable, "-m", "cordum.cli.main", "policy", "sign", "--in", str(policy)]
    done = subprocess.run(command, env={**os.environ, **SEEDED}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trusted = TrustedKeys()
    trusted.add(Signer.from_seed(SEED, "dev").public)
    signature = json.loads((tmp_path / "safety.yaml.sig").read_text())
    assert trusted.verify(POLICY.encode(), signature) == "dev"
    production = {**os.environ, **SEEDED, "CORDUM_ENV": "production"}
    refused = subprocess.run(command, env=production, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "CORDUM_POLICY_DEV_SIGNING_SEED" in refused.stderr
