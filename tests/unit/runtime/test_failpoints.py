"""Failpoints are the same boundaries in the pipelines, in the simulation and in the list the fault suite takes."""

import re
from collections import Counter
from pathlib import Path

import pytest

from cordum.domain.errors import ConfigError
from cordum.runtime import failpoints
from cordum.runtime.failpoints import RESULT_STEPS, SUBMIT_STEPS, FailpointReached

_ROOT = Path(__file__).parents[3]
_STEPS = [*SUBMIT_STEPS, *RESULT_STEPS]


def _named(folder: str, pattern: str, call: str) -> list[str]:
    texts = [path.read_text() for path in sorted((_ROOT / folder).rglob(pattern))]
    return [name for text in texts for name in re.findall(call + r'\("((?:submit|result)\.\w+)"\)', text)]


def test_every_failpoint_is_one_place_in_the_pipelines() -> None:
    assert Counter(_named("python/cordum/scheduler", "*.py", r"\breach")) == Counter(_STEPS)


def test_a_process_of_the_simulation_dies_at_the_same_places() -> None:
    assert Counter(_named("rust/simulation/src", "*.rs", r"\.step")) == Counter(_STEPS)


def test_an_armed_failpoint_acts_at_the_visit_it_names() -> None:
    failpoints.arm("submit.commit=raise@2", production=False)
    try:
        failpoints.reach("submit.commit")
        failpoints.reach("submit.publish")
        with pytest.raises(FailpointReached, match=r"submit\.commit"):
            failpoints.reach("submit.commit")
        failpoints.reach("submit.commit")
    finally:
        failpoints.arm("", production=False)


@pytest.mark.parametrize("text", ["submit.comit=kill", "submit.commit=stop", "submit.commit=kill@x", "x"])
def test_a_mistyped_failpoint_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="CORDUM_FAILPOINTS"):
        failpoints.arm(text, production=False)


def test_production_arms_nothing() -> None:
    with pytest.raises(ConfigError, match="production"):
        failpoints.arm("submit.commit=kill", production=True)
    failpoints.reach("submit.commit")
