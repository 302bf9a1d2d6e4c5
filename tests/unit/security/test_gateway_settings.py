"""Gateway settings: what is insecure or promised but not built stops the start."""

import json
from pathlib import Path

import pytest

from cordum.config.gateway import GatewaySettings
from cordum.domain.errors import ConfigError
from cordum.gateway.auth import Authenticator

LONG_KEY = "k" * 40


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> GatewaySettings:
    """Load the settings from exactly this environment."""
    for name in ("CORDUM_API_KEY", "CORDUM_API_KEYS", "API_KEY", "CORDUM_ENV", "CORDUM_PRODUCTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return GatewaySettings.load()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "CORDUM_API_KEYS"),
        ({"CORDUM_API_KEY": "k", "CORDUM_JWT_REQUIRED": "true"}, "CORDUM_JWT_REQUIRED"),
        ({"CORDUM_API_KEY": "k", "CORDUM_USER_AUTH_ENABLED": "true"}, "CORDUM_USER_AUTH_ENABLED"),
        ({"CORDUM_API_KEY": "k", "GATEWAY_HTTP_TLS_CERT": "/nowhere"}, "GATEWAY_HTTP_TLS"),
        ({"CORDUM_API_KEY": "k", "GATEWAY_HTTP_ADDR": "nonsense"}, "GATEWAY_HTTP_ADDR"),
        ({"CORDUM_API_KEY": LONG_KEY, "CORDUM_ENV": "production"}, "GATEWAY_HTTP_TLS_CERT"),
        (
            {"CORDUM_API_KEY": LONG_KEY, "CORDUM_ENV": "production", "CORDUM_ALLOWED_ORIGINS": "*"},
            "CORDUM_ALLOWED_ORIGINS",
        ),
        (
            {"CORDUM_API_KEY": LONG_KEY, "CORDUM_ENV": "production", "CORDUM_ALLOW_INSECURE_NO_AUTH": "1"},
            "CORDUM_ALLOW_INSECURE_NO_AUTH",
        ),
    ],
)
def test_an_unsafe_or_unbuilt_setting_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        load(monkeypatch, **environment)


def test_header_principals_are_off_in_production() -> None:
    made = GatewaySettings.model_construct(
        env="production", allow_header_principal=True, production_switch=False
    )
    assert made.header_principals is False


def test_a_changed_key_file_is_read_again_and_a_bad_one_keeps_the_old_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "keys"
    path.write_text("acme:first")
    auth = Authenticator(load(monkeypatch, CORDUM_API_KEYS_PATH=str(path)))
    assert auth.reload() is False
    path.write_text(json.dumps([{"key": "second-key", "tenant": "acme"}]))
    assert auth.reload() is True
    assert auth.caller({b"x-api-key": b'"second-key"'}).tenant == "acme"
    path.write_text("[broken")
    assert auth.reload() is False
    assert auth.caller({b"authorization": b"Bearer second-key"}).role == "admin"
