"""Named boundaries between the steps of the pipelines, where a test may end the process (docs/proof.md).

Inert unless `CORDUM_FAILPOINTS` arms some of them, which production refuses.
"""

import os
import signal
from collections.abc import Sequence
from typing import Final

from cordum.domain.errors import ConfigError

__all__ = ["OUTPUT_STEPS", "RESULT_STEPS", "SUBMIT_STEPS", "FailpointReached", "arm", "reach"]

SUBMIT_STEPS: Final[Sequence[str]] = (
    "submit.read",
    "submit.create",
    "submit.admit",
    "submit.configure",
    "submit.judge",
    "submit.reserve",
    "submit.commit",
    "submit.publish",
    "submit.confirm",
    "submit.look_after",
    "submit.answer",
)
RESULT_STEPS: Final[Sequence[str]] = (
    "result.read",
    "result.commit",
    "result.publish",
    "result.done",
    "result.answer",
)
OUTPUT_STEPS: Final[Sequence[str]] = (
    "output.ask",
    "output.copied",
    "scan.begin",
    "scan.copied",
    "scan.commit",
    "scan.tell",
)
_KNOWN: Final = frozenset((*SUBMIT_STEPS, *RESULT_STEPS, *OUTPUT_STEPS))
_ACTIONS: Final = frozenset({"kill", "raise"})


class FailpointReached(Exception):
    """An armed failpoint with the action `raise`."""


_armed: dict[str, tuple[str, int]] = {}


def arm(text: str, *, production: bool) -> None:
    """Arm `<name>=<kill|raise>[@<nth visit>],…`; the empty text disarms all. Raises ConfigError."""
    _armed.clear()
    if not text:
        return
    if production:
        raise ConfigError("CORDUM_FAILPOINTS: expected nothing in production")
    for part in text.split(","):
        name, _, rest = part.strip().partition("=")
        action, _, visit = rest.partition("@")
        if name not in _KNOWN or action not in _ACTIONS or not (visit or "1").isdigit():
            raise ConfigError(f"CORDUM_FAILPOINTS: expected `<step>=<kill|raise>[@<n>]`, got `{part}`")
        _armed[name] = (action, int(visit or "1"))


def reach(name: str) -> None:
    """Pass a boundary; end here if it is armed and this is the visit it waits for."""
    if _armed:
        _pass(name)


def _pass(name: str) -> None:
    action, left = _armed.get(name, ("", 0))
    if not action:
        return
    if left > 1:
        _armed[name] = (action, left - 1)
    elif action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        del _armed[name]
        raise FailpointReached(name)
