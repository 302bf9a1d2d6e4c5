"""Worker tokens: their form, their hash, and hashes that must not be computed (scheduler spec §19.2)."""

import re

import pytest
from argon2 import extract_parameters

from cordum.domain.errors import CordumError
from cordum.security.worker_tokens import hash_token, is_token_form, new_token, token_fits

TOKEN = new_token()
HASH = hash_token(TOKEN)


def test_a_token_is_64_hex_digits_and_never_the_same() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", TOKEN)
    assert is_token_form(TOKEN)
    assert new_token() != TOKEN


# Named, because the values differ from process to process.
@pytest.mark.parametrize(
    "text",
    ["", TOKEN[1:], TOKEN + "0", TOKEN[1:] + "G", "x" * 64],
    ids=["empty", "short", "long", "not hex", "no digits"],
)
def test_other_texts_are_not_worth_a_hash(text: str) -> None:
    assert not is_token_form(text)


def test_the_hash_is_argon2id_with_64_mib_3_passes_and_one_lane_in_phc_form() -> None:
    assert re.fullmatch(r"\$argon2id\$v=19\$m=65536,t=3,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}", HASH)
    cost = extract_parameters(HASH)
    assert (cost.salt_len, cost.hash_len) == (16, 32)


def test_only_the_token_fits() -> None:
    assert token_fits(HASH, TOKEN)
    assert not token_fits(HASH, new_token())
    assert not token_fits(HASH, "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("m=65536", "m=1048577"),
        ("t=3", "t=10001"),
        ("p=1", "p=17"),
        ("argon2id", "argon2i"),
        ("v=19", "v=16"),
        ("$argon2id", "argon2id"),
        (HASH, HASH + "A" * 1400),
        (HASH, HASH + "A" * 9000),
        (HASH, ""),
    ],
    ids=["memory", "passes", "lanes", "kind", "version", "form", "longer", "too long", "empty"],
)
def test_a_hash_that_costs_too_much_or_is_none_is_refused(old: str, new: str) -> None:
    with pytest.raises(CordumError, match="worker credential hash"):
        token_fits(HASH.replace(old, new), TOKEN)
