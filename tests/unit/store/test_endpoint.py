"""Reading the Redis settings (configuration spec §2.9, §2.10)."""

import pytest
from redis.asyncio import SSLConnection

from cordum.config.redis import RedisSettings, StoreSettings
from cordum.domain.errors import ConfigError
from cordum.store.endpoint import Endpoint


def test_credentials_in_the_url_win_over_the_password_variable() -> None:
    endpoint = Endpoint.parse(RedisSettings(url="redis://ann:p%40ss@db:6380/2", password="other"))
    assert (endpoint.host, endpoint.port, endpoint.database) == ("db", 6380, 2)
    assert (endpoint.username, endpoint.password) == ("ann", "p@ss")
    assert "p@ss" not in repr(endpoint)
    assert Endpoint.parse(RedisSettings(url="redis://db", password="other")).password == "other"


@pytest.mark.parametrize("url", ["http://db", "redis://", "db:6379"])
def test_a_url_of_another_kind_stops_the_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigError, match="REDIS_URL"):
        RedisSettings.load()


def test_a_cluster_has_only_database_zero() -> None:
    with pytest.raises(ConfigError, match="database 0"):
        Endpoint.parse(RedisSettings(url="redis://db/1", cluster_addresses=("a:1",)))


def test_tls_checks_the_certificate_against_the_configured_name() -> None:
    settings = RedisSettings(url="rediss://10.0.0.1", tls_server_name="redis.internal")
    arguments = Endpoint.parse(settings).connection_arguments("10.0.0.1", 6379)
    kind = arguments["connection_class"]
    assert issubclass(kind, SSLConnection)
    assert arguments["ssl_check_hostname"]
    connection = kind(**{k: v for k, v in arguments.items() if k not in {"connection_class"}})
    assert connection._connection_arguments()["server_hostname"] == "redis.internal"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 604_800),
        ({"JOB_META_TTL_SECONDS": "60"}, 60),
        ({"JOB_META_TTL_SECONDS": "60", "JOB_META_TTL": "2h"}, 7200),
        ({"JOB_META_TTL": "-1s"}, 604_800),
        ({"JOB_META_TTL": "soon"}, 604_800),
    ],
)
def test_the_duration_form_of_a_ttl_wins_and_a_bad_one_is_the_default(
    variables: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert StoreSettings.load().job_meta_ttl_s == expected


def test_partitions_must_be_a_power_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULER_PARTITIONS", "48")
    settings = StoreSettings.load()
    assert settings.partitions == 64
    assert settings.warnings
