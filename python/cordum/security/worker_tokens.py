"""Worker credential tokens: random, kept only as Argon2id hashes (RFC 9106; scheduler spec §19.2).

A hash takes 64 MiB and tens of milliseconds of a core by design, so both directions belong into a thread.
"""

import re
import secrets
from typing import Final

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from argon2.low_level import ARGON2_VERSION

from cordum.domain.errors import CordumError

__all__ = ["hash_token", "is_token_form", "new_token", "token_fits"]

TOKEN_BYTES: Final = 32
_HASHER: Final = PasswordHasher(
    time_cost=3, memory_cost=64 * 1024, parallelism=1, hash_len=32, salt_len=16, type=Type.ID
)
_MEMORY_MAX_KIB: Final = 1024 * 1024
_ITERATIONS_MAX: Final = 10_000
_PARALLELISM_MAX: Final = 16
_HASH_MAX_BYTES: Final = 1024
_PHC_MAX: Final = 8 * 1024
_TOKEN: Final = re.compile(r"[0-9a-f]{64}")


def new_token() -> str:
    """Return a new token: 64 hex digits."""
    return secrets.token_hex(TOKEN_BYTES)


def is_token_form(text: str) -> bool:
    """Tell whether a text could be a token at all; what could not costs no hash."""
    return _TOKEN.fullmatch(text) is not None


def hash_token(token: str) -> str:
    """Return the PHC text of a token under a fresh salt."""
    return _HASHER.hash(token)


def token_fits(phc: str, token: str) -> bool:
    """Tell whether ``token`` is the one behind a stored hash.

    Raises CordumError for a hash that is none, or whose cost is beyond the caps: it could take the process down.
    """
    if len(phc) > _PHC_MAX:
        raise CordumError("worker credential hash is too long")
    try:
        cost = extract_parameters(phc)
    except InvalidHashError as error:
        raise CordumError("worker credential hash is not readable") from error
    if (
        cost.type is not Type.ID
        or cost.version != ARGON2_VERSION
        or cost.memory_cost > _MEMORY_MAX_KIB
        or cost.time_cost > _ITERATIONS_MAX
        or cost.parallelism > _PARALLELISM_MAX
        or cost.hash_len > _HASH_MAX_BYTES
    ):
        raise CordumError("worker credential hash is beyond the caps")
    try:
        return _HASHER.verify(phc, token)
    except VerifyMismatchError:
        return False
    except (Argon2Error, InvalidHashError) as error:
        raise CordumError("worker credential hash is not readable") from error
