"""What the NATS settings refuse before anything is started."""

import pytest

from cordum.config.nats import NatsSettings
from cordum.domain.errors import ConfigError

TLS = {"NATS_URL": "tls://nats:4222", "NATS_TLS_CA": "/etc/ca.pem", "CORDUM_ENV": "production"}


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"CORDUM_ENV": "production"}, "NATS_URL"),
        ({**TLS, "NATS_TLS_CA": ""}, "NATS_TLS_CA"),
        ({**TLS, "NATS_TLS_INSECURE": "true"}, "NATS_TLS_INSECURE"),
        ({**TLS, "NATS_USE_JETSTREAM": "0"}, "NATS_USE_JETSTREAM"),
        ({"NATS_TLS_CERT": "/etc/cert.pem"}, "NATS_TLS_KEY"),
        ({"NATS_URL": "nats://a:4222,tls://b:4222"}, "NATS_URL"),
        ({"NATS_USE_JETSTREAM": "ture"}, "NATS_USE_JETSTREAM"),
        ({"CORDUM_TLS_MIN_VERSION": "1.0"}, "CORDUM_TLS_MIN_VERSION"),
    ],
)
def test_unsafe_or_contradictory_nats_settings_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=named):
        NatsSettings.load()


@pytest.mark.parametrize(
    "variables",
    [TLS, {"CORDUM_ENV": "production", "CORDUM_NATS_ALLOW_PLAINTEXT": "yes"}, {"NATS_USE_JETSTREAM": "0"}],
)
def test_allowed_nats_settings_load(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    NatsSettings.load()


def test_nats_defaults_are_the_documented_ones() -> None:
    settings = NatsSettings.load()

    assert settings.urls == ("nats://localhost:4222",)
    assert (settings.js_ack_wait_s, settings.js_max_age_s, settings.js_max_bytes) == (30, 604_800, 0)
    assert (settings.max_ack_pending, settings.ping_interval_s, settings.js_replicas) == (2_048, 30, 1)
    assert settings.use_jetstream


@pytest.mark.parametrize(("text", "value"), [("70000", 50_000), ("0", 2_048), ("many", 2_048), ("100", 100)])
def test_max_ack_pending_is_bounded(monkeypatch: pytest.MonkeyPatch, text: str, value: int) -> None:
    monkeypatch.setenv("NATS_MAX_ACK_PENDING", text)
    assert NatsSettings.load().max_ack_pending == value
