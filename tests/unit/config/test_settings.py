"""Settings: parsing, the class rule, errors that never show a value."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import AliasChoices, Field

from cordum.config.base import SECURITY, Settings, load_all
from cordum.config.service import CommonSettings
from cordum.config.types import (
    Address,
    Bool,
    ByteSize,
    Duration,
    ListenAddress,
    Secret,
    StrList,
    Word,
    parse_address,
    parse_bool,
    parse_bytes,
    parse_duration,
)
from cordum.domain.errors import ConfigError


class _Sample(Settings):
    guard: Bool = Field(False, validation_alias="T_GUARD", json_schema_extra=SECURITY)
    interval_s: Duration = Field(30.0, validation_alias="T_INTERVAL")
    count: int = Field(7, validation_alias="T_COUNT", ge=1, le=100)
    size: ByteSize = Field(1024, validation_alias="T_SIZE")
    key: Secret | None = Field(None, validation_alias=AliasChoices("T_KEY", "T_OLD_KEY"))
    names: StrList = Field((), validation_alias="T_NAMES")
    addr: ListenAddress = Field(Address("", 9090), validation_alias="T_ADDR")
    mode: Annotated[Literal["warn", "enforce"], Word] = Field("warn", validation_alias="T_MODE")


class _Other(Settings):
    needed: str = Field(validation_alias="T_NEEDED")


def test_every_type_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "T_GUARD": " Yes ",
        "T_INTERVAL": "1h30m",
        "T_COUNT": "9",
        "T_SIZE": "2MiB",
        "T_OLD_KEY": "hidden-value",
        "T_NAMES": " a, ,b ",
        "T_ADDR": "[::1]:80",
        "T_MODE": "ENFORCE",
    }.items():
        monkeypatch.setenv(name, value)
    settings = _Sample.load()
    assert settings.guard is True
    assert settings.interval_s == 5400
    assert (settings.count, settings.size, settings.names) == (9, 2 << 20, ("a", "b"))
    assert settings.key is not None
    assert settings.key.get_secret_value() == "hidden-value"
    assert settings.addr == Address("::1", 80)
    assert settings.mode == "enforce"
    assert "hidden-value" not in repr(settings)
    assert settings.non_defaults()["T_KEY"] == "[set]"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_INTERVAL", "")
    assert _Sample.load().interval_s == 30.0


def test_all_errors_are_reported_together_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_GUARD", "ture")
    monkeypatch.setenv("T_ADDR", "nonsense")
    with pytest.raises(ConfigError) as caught:
        load_all(_Sample, _Other)
    text = str(caught.value)
    assert "T_GUARD: expected `true` or `false`" in text
    assert "got 4 letters" in text
    assert "T_ADDR: expected an address" in text
    assert "T_NEEDED: expected a value, got nothing" in text
    assert "ture" not in text
    assert "nonsense" not in text
    assert len(caught.value.details["settings"]) == 3  # type: ignore[arg-type]


def test_a_bad_harmless_value_becomes_the_default_and_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_INTERVAL", "soon")
    monkeypatch.setenv("T_COUNT", "1000")
    settings = _Sample.load()
    assert (settings.interval_s, settings.count) == (30.0, 7)
    assert len(settings.warnings) == 2
    assert settings.warnings[0].startswith("T_INTERVAL: expected a duration")
    assert "soon" not in " ".join(settings.warnings)


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("from-file\n")
    monkeypatch.setenv("T_KEY_FILE", str(path))
    settings = _Sample.load()
    assert settings.key is not None
    assert settings.key.get_secret_value() == "from-file"


def test_a_secret_and_its_file_together_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("T_KEY_FILE", str(tmp_path / "missing"))
    monkeypatch.setenv("T_KEY", "x")
    with pytest.raises(ConfigError, match="got both"):
        _Sample.load()
    monkeypatch.delenv("T_KEY")
    with pytest.raises(ConfigError, match="T_KEY_FILE: expected a readable file"):
        _Sample.load()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90), ("1h30m", 5400), ("7d", 604800), ("0", 0), ("-1s", -1), ("250us", 0.00025)],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "1h 30", "1e3s", "5s junk"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["localhost", "a:b", "::1:80", "host:99999", "host:"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        parse_address(text)


def test_sizes_and_switches_have_one_spelling_table() -> None:
    assert parse_bytes("1GiB") == 1 << 30
    assert [parse_bool(word) for word in ("1", "T", "off", "No")] == [True, True, False, False]
    with pytest.raises(ValueError, match="bytes"):
        parse_bytes("1GB")


@pytest.mark.parametrize(
    ("env", "switch", "expected"),
    [
        ("production", "", True),
        ("PROD", "0", True),
        ("dev", "yes", True),
        ("staging", "", False),
        ("", "", False),
    ],
)
def test_either_variable_turns_production_on(
    monkeypatch: pytest.MonkeyPatch, env: str, switch: str, expected: bool
) -> None:
    monkeypatch.setenv("CORDUM_ENV", env)
    monkeypatch.setenv("CORDUM_PRODUCTION", switch)
    assert CommonSettings.load().production is expected


def test_a_misspelt_production_switch_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORDUM_PRODUCTION", "ture")
    with pytest.raises(ConfigError, match="CORDUM_PRODUCTION"):
        CommonSettings.load()


def test_bases_that_share_a_field_name_for_different_variables_are_refused() -> None:
    class First(Settings):
        password: Secret | None = Field(None, validation_alias="T_FIRST_PASSWORD")

    class Second(Settings):
        password: Secret | None = Field(None, validation_alias="T_SECOND_PASSWORD")

    with pytest.raises(TypeError, match="bases disagree about the variable of `password`"):

        class _Both(First, Second):
            pass
