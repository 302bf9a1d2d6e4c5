"""Base58check, bech32 and EIP-55 as their specifications write them: keys and addresses of nobody."""

import hashlib
from collections.abc import Callable
from random import Random

__all__ = ["FUNCTIONS"]

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_MASK = (1 << 64) - 1


def _base58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = _BASE58[rest] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def _base58check(data: bytes, *, spoil: int = 0) -> str:
    check = hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
    return _base58(data + bytes([check[0] ^ spoil]) + check[1:])


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> place & 1 else 0
    return check


def _bech32(prefix: str, words: list[int]) -> str:
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = _polymod([*expanded, *words, 0, 0, 0, 0, 0, 0]) ^ 1
    words = words + [check >> 5 * (5 - place) & 31 for place in range(6)]
    return prefix + "1" + "".join(_BECH32[word] for word in words)


def _five_bits(data: bytes) -> list[int]:
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]


def _rotate(value: int, count: int) -> int:
    return (value << count | value >> (64 - count)) & _MASK


def _permute(lanes: list[list[int]]) -> None:
    """Keccak-f[1600] (FIPS 202 §3.3) in place."""
    feedback = 1
    for _ in range(24):
        parity = [lanes[x][0] ^ lanes[x][1] ^ lanes[x][2] ^ lanes[x][3] ^ lanes[x][4] for x in range(5)]
        mixed = [parity[(x + 4) % 5] ^ _rotate(parity[(x + 1) % 5], 1) for x in range(5)]
        for x in range(5):
            for y in range(5):
                lanes[x][y] ^= mixed[x]
        x, y, current = 1, 0, lanes[1][0]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x][y] = lanes[x][y], _rotate(current, (step + 1) * (step + 2) // 2 % 64)
        for y in range(5):
            row = [lanes[x][y] for x in range(5)]
            for x in range(5):
                lanes[x][y] = row[x] ^ (~row[(x + 1) % 5] & _MASK & row[(x + 2) % 5])
        for power in range(7):
            feedback = (feedback << 1 ^ (feedback >> 7) * 0x71) % 256
            if feedback & 2:
                lanes[0][0] ^= 1 << ((1 << power) - 1)


def keccak256(data: bytes) -> bytes:
    """Keccak-256 with the padding Ethereum uses."""
    rate = 136
    padded = data + b"\1" + b"\0" * (-(len(data) + 2) % rate) + b"\x80"
    if len(data) % rate == rate - 1:
        padded = data + b"\x81"
    lanes = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), rate):
        for place in range(rate // 8):
            at = start + 8 * place
            lanes[place % 5][place // 5] ^= int.from_bytes(padded[at : at + 8], "little")
        _permute(lanes)
    return b"".join(lanes[place % 5][place // 5].to_bytes(8, "little") for place in range(4))


def _ethereum(rng: Random, _: str) -> str:
    address = rng.randbytes(20).hex()
    marks = keccak256(address.encode()).hex()
    return "0x" + "".join(
        c.upper() if int(mark, 16) >= 8 else c for c, mark in zip(address, marks, strict=False)
    )


def _bad_ethereum(rng: Random, _: str) -> str:
    """Mixed case that is not the checksum's."""
    good = _ethereum(rng, "")
    letters = [at for at, c in enumerate(good) if at > 1 and c.isalpha()]
    swapped = set(letters[:3])
    return "".join(c.swapcase() if at in swapped else c for at, c in enumerate(good))


FUNCTIONS: dict[str, Callable[[Random, str], str]] = {
    "wif": lambda rng, _: _base58check(b"\x80" + rng.randbytes(32) + b"\1"),
    "badwif": lambda rng, _: _base58check(b"\x80" + rng.randbytes(32) + b"\1", spoil=1),
    "btc": lambda rng, _: _base58check(b"\0" + rng.randbytes(20)),
    "badbtc": lambda rng, _: _base58check(b"\0" + rng.randbytes(20), spoil=1),
    "bech32addr": lambda rng, _: _bech32("bc", [0, *_five_bits(rng.randbytes(20))]),
    "age": lambda rng, _: _bech32("age-secret-key-", _five_bits(rng.randbytes(32))).upper(),
    "eth": _ethereum,
    "badeth": _bad_ethereum,
}
