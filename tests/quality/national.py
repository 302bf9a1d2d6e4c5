"""Numbers of persons, accounts and cards with the check digits their issuers publish; drawn at random."""

import string
from collections.abc import Callable, Sequence
from random import Random

__all__ = ["FUNCTIONS"]

_VERHOEFF_TURN = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)
_ODD_VALUES = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
# Letters count as in the table, digits like the letters A to J.
_ODD = {
    **dict(zip(string.ascii_uppercase, _ODD_VALUES, strict=True)),
    **dict(zip(string.digits, _ODD_VALUES, strict=False)),
}


def _digits(rng: Random, count: int) -> list[int]:
    return [rng.randrange(10) for _ in range(count)]


def _text(digits: Sequence[int]) -> str:
    return "".join(map(str, digits))


def _luhn(digits: Sequence[int]) -> int:
    """Check digit that makes the digits valid (ISO/IEC 7812-1)."""
    doubled = [d * 2 - 9 * (d > 4) if place % 2 == 0 else d for place, d in enumerate(reversed(digits))]
    return -sum(doubled) % 10


def _verhoeff(digits: Sequence[int]) -> int:
    """Check digit of Verhoeff's scheme: the dihedral group of order ten."""

    def join(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else (a + b - 5) % 5 + 5
        return (a - 5 - b) % 5 + 5 if b < 5 else (a - b) % 5

    check = 0
    for place, digit in enumerate(reversed(digits), start=1):
        check = join(check, int(_VERHOEFF_TURN[place % 8][digit]))
    return next(d for d in range(10) if join(check, d) == 0)


def _spoiled(make: Callable[[Random, str], str], place: int = -1) -> Callable[[Random, str], str]:
    """The same with one digit or letter off, so that the check fails."""

    def bad(rng: Random, argument: str) -> str:
        text = make(rng, argument)
        at = len(text) + place if place < 0 else place
        c = text[at]
        other = str((int(c) + 1) % 10) if c.isdigit() else chr((ord(c) - 65 + 1) % 26 + 65)
        return text[:at] + other + text[at + 1 :]

    return bad


def _until(rng: Random, make: Callable[[Random], str | None]) -> str:
    """Draw until a number has a check digit at all."""
    while (text := make(rng)) is None:
        pass
    return text


def _birth(rng: Random) -> tuple[int, int, int]:
    return rng.randrange(1950, 1999), rng.randrange(1, 13), rng.randrange(1, 29)


def _card(rng: Random, argument: str) -> str:
    lead, length = argument.split(":")
    body = [int(c) for c in lead] + _digits(rng, int(length) - len(lead) - 1)
    return _text([*body, _luhn(body)])


def _grouped(text: str, sizes: Sequence[int], mark: str = " ") -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return mark.join(parts)


def _iban(rng: Random, argument: str) -> str:
    country, _, length = argument.partition(":")
    letters = "".join(rng.choice(string.ascii_uppercase) for _ in range(4))
    number = {"GB": letters + _text(_digits(rng, 14)), "NL": letters + _text(_digits(rng, 10))}.get(country)
    body = number or _text(_digits(rng, int(length or 0)))
    value = int("".join(str(int(c, 36)) for c in body + country + "00"))
    return f"{country}{98 - value % 97:02d}{body}"


def _spaced_iban(rng: Random, argument: str) -> str:
    text = _iban(rng, argument)
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def _ssn(rng: Random, mark: str) -> str:
    area = rng.choice([n for n in range(100, 665) if n not in (78, 219)])
    return mark.join([str(area), f"{rng.randrange(10, 99)}", f"{rng.randrange(1000, 9999)}"])


def _routing(rng: Random, _: str) -> str:
    body = [0, rng.randrange(1, 10), *_digits(rng, 6)]
    weights = [3, 7, 1, 3, 7, 1, 3, 7]
    return _text([*body, -sum(w * d for w, d in zip(weights, body, strict=True)) % 10])


def _npi(rng: Random, _: str) -> str:
    body = [1, *_digits(rng, 8)]
    return _text([*body, _luhn([8, 0, 8, 4, 0, *body])])


def _mbi(rng: Random, _: str) -> str:
    letters, digits = "ACDEFGHJKMNPQRTUVWXY", "0123456789"
    pattern = [
        digits[1:],
        letters,
        letters + digits,
        digits,
        letters,
        letters + digits,
        digits,
        letters,
        letters,
        digits,
        digits,
    ]
    return "".join(rng.choice(kind) for kind in pattern)


def _weighed(text: str) -> int:
    values = [0 if c == "<" else int(c, 36) for c in text]
    return sum(v * (7, 3, 1)[place % 3] for place, v in enumerate(values)) % 10


def _mrz3(rng: Random, _: str) -> str:
    name = "P<UTO" + rng.choice(["ERIKSSON<<ANNA<MARIA", "MUSTER<<ERIKA", "DOE<<JOHN"])
    number, born, until = "L" + _text(_digits(rng, 8)), "740812", "270415"
    optional = "ZE" + _text(_digits(rng, 6)) + "<<<<<<"
    number, born, until, optional = (f"{part}{_weighed(part)}" for part in (number, born, until, optional))
    check = _weighed(number + born + until + optional)
    return f"{name.ljust(44, '<')}\n{number}UTO{born}F{until}{optional}{check}"


def _mrz1(rng: Random, _: str) -> str:
    number = "D" + _text(_digits(rng, 8))
    number = f"{number}{_weighed(number)}"
    born, until = (f"{part}{_weighed(part)}" for part in ("740812", "270415"))
    first = f"I<UTO{number}{'<' * 15}"
    middle = f"{born}F{until}UTO{'<' * 11}"
    check = _weighed(first[5:30] + middle[:7] + middle[8:15] + middle[18:29])
    return f"{first}\n{middle}{check}\n{'ERIKSSON<<ANNA<MARIA'.ljust(30, '<')}"


def _eleven(rng: Random, weights: Sequence[int], lead: Sequence[int] = ()) -> str:
    def make(rng: Random) -> str | None:
        body = [*lead, *_digits(rng, len(weights) - len(lead))]
        rest = 11 - sum(w * d for w, d in zip(weights, body, strict=True)) % 11
        rest = 0 if rest == 11 else rest
        return None if rest == 10 or body[0] == 0 else _text([*body, rest])

    return _until(rng, make)


def _nhs(rng: Random, _: str) -> str:
    return _eleven(rng, range(10, 1, -1), [4])


def _sin(rng: Random, _: str) -> str:
    body = [rng.choice([1, 2, 4, 5, 6, 7]), *_digits(rng, 7)]
    return _text([*body, _luhn(body)])


def _tfn(rng: Random, _: str) -> str:
    weights = [1, 4, 3, 7, 5, 8, 6, 9, 10]

    def make(rng: Random) -> str | None:
        body = [rng.randrange(1, 10), *_digits(rng, 8)]
        return _text(body) if sum(w * d for w, d in zip(weights, body, strict=True)) % 11 == 0 else None

    return _until(rng, make)


def _au_medicare(rng: Random, _: str) -> str:
    body = [rng.randrange(2, 7), *_digits(rng, 7)]
    check = sum(w * d for w, d in zip([1, 3, 7, 9, 1, 3, 7, 9], body, strict=True)) % 10
    return _text([*body, check, rng.randrange(1, 10)])


def _de_tax(rng: Random, _: str) -> str:
    """Ten digits of which exactly one occurs twice, then ISO 7064 mod 11,10."""
    kinds = rng.sample(range(10), 9)
    body = [*kinds, kinds[rng.randrange(9)]]
    rng.shuffle(body)
    while body[0] == 0 or any(body[at] == body[at + 1] for at in range(9)):
        rng.shuffle(body)
    product = 10
    for digit in body:
        product = (digit + product) % 10 or 10
        product = product * 2 % 11
    return _text([*body, (11 - product) % 10])


def _nir(rng: Random, _: str) -> str:
    year, month, _day = _birth(rng)
    place, order = f"{rng.randrange(10, 90)}{rng.randrange(100, 800)}", rng.randrange(100, 900)
    body = f"{rng.choice('12')}{year % 100:02d}{month:02d}{place}{order}"
    return f"{body}{97 - int(body) % 97:02d}"


def _corsican_nir(rng: Random, _: str) -> str:
    """Departments 2A and 2B count as 19 and 18."""
    year, month, _day = _birth(rng)
    head = f"{rng.choice('12')}{year % 100:02d}{month:02d}"
    order = f"{rng.randrange(100, 400)}{rng.randrange(100, 900)}"
    department, number = rng.choice([("2A", "19"), ("2B", "18")])
    key = 97 - int(head + number + order) % 97
    return _grouped(f"{head}{department}{order}{key:02d}", [1, 2, 2, 2, 3, 3, 2])


def _dni(rng: Random, _: str) -> str:
    number = rng.randrange(10_000_000, 99_999_999)
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def _nie(rng: Random, _: str) -> str:
    lead, number = rng.randrange(3), rng.randrange(1_000_000, 9_999_999)
    return f"{'XYZ'[lead]}{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[(lead * 10_000_000 + number) % 23]}"


def _codice(rng: Random, _: str) -> str:
    consonants = "BCDFGLMNPRSTVZ"
    names = "".join(rng.choice(consonants) for _ in range(6))
    year, month, day = _birth(rng)
    town = f"{rng.choice('ABCDEFGHI')}{rng.randrange(100, 999)}"
    body = f"{names}{year % 100:02d}{'ABCDEHLMPRST'[month - 1]}{day:02d}{town}"
    total = sum(
        _ODD[c] if place % 2 == 0 else int(c, 36) % 10 if c.isdigit() else ord(c) - 65
        for place, c in enumerate(body)
    )
    return body + string.ascii_uppercase[total % 26]


def _bsn(rng: Random, _: str) -> str:
    weights = [9, 8, 7, 6, 5, 4, 3, 2, -1]

    def make(rng: Random) -> str | None:
        body = [rng.randrange(1, 10), *_digits(rng, 8)]
        return _text(body) if sum(w * d for w, d in zip(weights, body, strict=True)) % 11 == 0 else None

    return _until(rng, make)


def _nrn(rng: Random, _: str) -> str:
    year, month, day = _birth(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{rng.randrange(1, 998):03d}"
    return f"{body[:2]}.{body[2:4]}.{body[4:6]}-{body[6:]}.{97 - int(body) % 97:02d}"


def _ahv(rng: Random, _: str) -> str:
    body = [7, 5, 6, *_digits(rng, 9)]
    check = -sum(d * (1, 3)[place % 2] for place, d in enumerate(body)) % 10
    return _grouped(_text([*body, check]), [3, 4, 4, 2], ".")


def _pesel(rng: Random, _: str) -> str:
    year, month, day = _birth(rng)
    body = [int(c) for c in f"{year % 100:02d}{month:02d}{day:02d}"] + _digits(rng, 4)
    check = -sum(w * d for w, d in zip([1, 3, 7, 9, 1, 3, 7, 9, 1, 3], body, strict=True)) % 10
    return _text([*body, check])


def _personnummer(rng: Random, _: str) -> str:
    year, month, day = _birth(rng)
    body = [int(c) for c in f"{year % 100:02d}{month:02d}{day:02d}"] + _digits(rng, 3)
    text = _text([*body, _luhn(body)])
    return f"{text[:6]}-{text[6:]}"


def _hetu(rng: Random, _: str) -> str:
    year, month, day = _birth(rng)
    born, number = f"{day:02d}{month:02d}{year % 100:02d}", f"{rng.randrange(2, 899):03d}"
    return f"{born}-{number}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(born + number) % 31]}"


def _fnr(rng: Random, _: str) -> str:
    def make(rng: Random) -> str | None:
        year, month, day = _birth(rng)
        body = [int(c) for c in f"{day:02d}{month:02d}{year % 100:02d}{rng.randrange(100, 499)}"]
        first = -sum(w * d for w, d in zip([3, 7, 6, 1, 8, 9, 4, 5, 2], body, strict=True)) % 11
        second = -sum(w * d for w, d in zip([5, 4, 3, 2, 7, 6, 5, 4, 3, 2], [*body, first], strict=True)) % 11
        return None if 10 in (first, second) else _text([*body, first, second])

    return _until(rng, make)


def _cpf_bare(rng: Random, _: str) -> str:
    body = _digits(rng, 9)
    for length in (10, 11):
        rest = sum(w * d for w, d in zip(range(length, 1, -1), body, strict=True)) * 10 % 11
        body.append(rest % 10)
    return _text(body)


def _cpf(rng: Random, _: str) -> str:
    text = _cpf_bare(rng, "")
    return f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}"


def _curp(rng: Random, _: str) -> str:
    year, month, day = _birth(rng)
    consonants = "BCDFGHJKLMNPQRSTVWXYZ"
    body = rng.choice(consonants) + rng.choice("AEIOU") + rng.choice(consonants) + rng.choice(consonants)
    body += f"{year % 100:02d}{month:02d}{day:02d}{rng.choice('HM')}{rng.choice(['DF', 'JC', 'NL'])}"
    body += "".join(rng.choice(consonants) for _ in range(3)) + rng.choice(string.digits)
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(alphabet.index(c) * (18 - place) for place, c in enumerate(body))
    return f"{body}{-total % 10}"


def _aadhaar(rng: Random, _: str) -> str:
    body = [rng.randrange(2, 10), *_digits(rng, 10)]
    return _text([*body, _verhoeff(body)])


def _nric(rng: Random, lead: str) -> str:
    body = _digits(rng, 7)
    total = sum(w * d for w, d in zip([2, 7, 6, 5, 4, 3, 2], body, strict=True)) + (4 if lead in "TG" else 0)
    return f"{lead}{_text(body)}{('JZIHGFEDCBA' if lead in 'ST' else 'XWUTRQPNMLK')[total % 11]}"


def _rrn(rng: Random, _: str) -> str:
    def make(rng: Random) -> str | None:
        year, month, day = _birth(rng)
        body = (
            [int(c) for c in f"{year % 100:02d}{month:02d}{day:02d}"] + [rng.choice([1, 2])] + _digits(rng, 5)
        )
        check = (
            11 - sum(w * d for w, d in zip([2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5], body, strict=True)) % 11
        ) % 10
        text = _text([*body, check])
        return f"{text[:6]}-{text[6:]}"

    return _until(rng, make)


def _cn_id(rng: Random, _: str) -> str:
    year, month, day = _birth(rng)
    body = (
        f"{rng.choice(['110101', '310104', '440305'])}{year}{month:02d}{day:02d}{rng.randrange(1, 999):03d}"
    )
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    return body + "10X98765432"[sum(w * int(c) for w, c in zip(weights, body, strict=True)) % 11]


def _my_number(rng: Random, _: str) -> str:
    body = [rng.randrange(1, 10), *_digits(rng, 10)]
    total = sum(d * (n + 1 if n <= 6 else n - 5) for n, d in enumerate(reversed(body), start=1))
    return _text([*body, 0 if total % 11 <= 1 else 11 - total % 11])


def _za_id(rng: Random, _: str) -> str:
    year, month, day = _birth(rng)
    body = [int(c) for c in f"{year % 100:02d}{month:02d}{day:02d}{rng.randrange(1000, 9999)}08"]
    return _text([*body, _luhn(body)])


def _tckn(rng: Random, _: str) -> str:
    body = [rng.randrange(1, 10), *_digits(rng, 8)]
    tenth = (sum(body[0::2]) * 7 - sum(body[1::2])) % 10
    return _text([*body, tenth, (sum(body) + tenth) % 10])


def _il_id(rng: Random, _: str) -> str:
    body = [rng.randrange(1, 4), *_digits(rng, 7)]
    return _text([*body, _luhn(body)])


FUNCTIONS: dict[str, Callable[[Random, str], str]] = {
    "card": _card,
    "badcard": _spoiled(_card),
    "cardgroups": lambda rng, a: _grouped(_card(rng, a), [4, 4, 4, 4]),
    "carddashes": lambda rng, a: _grouped(_card(rng, a), [4, 4, 4, 4], "-"),
    "iban": _iban,
    "ibanspaced": _spaced_iban,
    "ibansmall": lambda rng, argument: _iban(rng, argument).lower(),
    "badiban": _spoiled(_iban),
    "ssn": _ssn,
    "routing": _routing,
    "badrouting": _spoiled(_routing),
    "npi": _npi,
    "badnpi": _spoiled(_npi),
    "mbi": _mbi,
    "mrz3": _mrz3,
    "mrz1": _mrz1,
    "nhs": _nhs,
    "nhsspaced": lambda rng, a: _grouped(_nhs(rng, a), [3, 3, 4]),
    "nhsdashes": lambda rng, a: _grouped(_nhs(rng, a), [3, 3, 4], "-"),
    "badnhs": _spoiled(_nhs),
    "sin": _sin,
    "sinspaced": lambda rng, a: _grouped(_sin(rng, a), [3, 3, 3]),
    "badsin": _spoiled(_sin),
    "tfn": _tfn,
    "badtfn": _spoiled(_tfn),
    "aumedicare": _au_medicare,
    "badaumedicare": _spoiled(_au_medicare, 8),
    "detax": _de_tax,
    "baddetax": _spoiled(_de_tax),
    "nir": _nir,
    "corsican": _corsican_nir,
    "badnir": _spoiled(_nir),
    "dni": _dni,
    "nie": _nie,
    "niedash": lambda rng, a: _grouped(_nie(rng, a), [1, 8], "-"),
    "baddni": _spoiled(_dni, 3),
    "codice": _codice,
    "badcodice": _spoiled(_codice),
    "bsn": _bsn,
    "badbsn": _spoiled(_bsn),
    "nrn": _nrn,
    "nrnbare": lambda rng, a: "".join(c for c in _nrn(rng, a) if c.isdigit()),
    "badnrn": _spoiled(_nrn),
    "ahv": _ahv,
    "badahv": _spoiled(_ahv),
    "pesel": _pesel,
    "badpesel": _spoiled(_pesel),
    "personnummer": _personnummer,
    "badpersonnummer": _spoiled(_personnummer),
    "hetu": _hetu,
    "badhetu": _spoiled(_hetu, 8),
    "fnr": _fnr,
    "badfnr": _spoiled(_fnr),
    "cpf": _cpf,
    "cpfbare": _cpf_bare,
    "badcpf": _spoiled(_cpf),
    "curp": _curp,
    "badcurp": _spoiled(_curp),
    "aadhaar": _aadhaar,
    "aadhaarspaced": lambda rng, a: _grouped(_aadhaar(rng, a), [4, 4, 4]),
    "badaadhaar": _spoiled(_aadhaar),
    "nric": _nric,
    "badnric": lambda rng, _: _spoiled(_nric, 4)(rng, "S"),
    "rrn": _rrn,
    "cnid": _cn_id,
    "badcnid": _spoiled(_cn_id, 16),
    "mynumber": _my_number,
    "badmynumber": _spoiled(_my_number),
    "zaid": _za_id,
    "badzaid": _spoiled(_za_id),
    "tckn": _tckn,
    "badtckn": _spoiled(_tckn),
    "ilid": _il_id,
    "badilid": _spoiled(_il_id),
}
