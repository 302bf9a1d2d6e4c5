"""Cordum, an agent control plane.

The published ``cap-sdk-python`` distribution ships its generated messages as a second top-level package of the
same name (``cordum.agent.v1``). Its folder is appended to our ``__path__`` without importing it, so both live
together when ours is imported first (architecture §3).
"""

from importlib.util import find_spec
from pathlib import Path

__all__ = ["__version__"]

__version__ = "0.1.0"

_cap = find_spec("cap")
if _cap is not None and _cap.origin is not None:
    _cap_messages = str(Path(_cap.origin).parent / "pb" / "cordum")
    if _cap_messages not in __path__:
        __path__.append(_cap_messages)
del find_spec, Path
