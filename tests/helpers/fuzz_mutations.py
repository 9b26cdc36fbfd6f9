"""Damage to files: what disks, networks and hostile hands do to them, drawn from a seed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

_INTEGERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 30000, 32767, 32768, 65535, 2**31 - 1, 2**31)
_INTEGERS += (2**32 - 1, 2**63 - 1, 2**64 - 1)
_NUMBERS = (b"0", b"-1", b"1", b"nan", b"inf", b"-inf", b"1e308", b"1e-320", b"9" * 20)
_NUMBERS += (b"30000", b"65536", b"", b"0x10", b"1e5", b"-0.0", b"1_000", b"\xd9\xa1")
_HEAD = 1024
_MOST_GROWTH = 2**16


def mutate(data: bytes, rng: Random, donors: Sequence[bytes] = ()) -> bytes:
    """The file with one to six damages, most of them near its start, where headers are."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        change = rng.choice(_CHANGES)
        change(content, rng, donors)
        if len(content) > len(data) + _MOST_GROWTH:
            del content[len(data) + _MOST_GROWTH :]
    return bytes(content)


def _place(content: bytearray, rng: Random) -> int:
    limit = min(len(content), _HEAD) if rng.random() < 0.6 else len(content)
    return rng.randrange(limit) if limit else 0


def _flip_bits(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    for _ in range(rng.randint(1, 8)):
        if content:
            content[_place(content, rng)] ^= 1 << rng.randrange(8)


def _random_bytes(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at, count = _place(content, rng), rng.choice((1, 2, 4, 16, 200))
    content[at : at + count] = rng.randbytes(count)


def _integer(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    """A length or a count that lies."""
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(_INTEGERS) % 256**size
    at = _place(content, rng)
    content[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _number_in_text(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(content[: 4 * _HEAD])))
    if found:
        one = rng.choice(found)
        content[one.start() : one.end()] = rng.choice(_NUMBERS)


def _truncate(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    del content[_place(content, rng) :]


def _delete(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = _place(content, rng)
    del content[at : at + rng.choice((1, 2, 4, 64, 1000))]


def _duplicate(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at, count = _place(content, rng), rng.choice((1, 4, 64, 1000))
    block = bytes(content[at : at + count])
    content[at:at] = block * rng.choice((1, 1, 2, 50))


def _insert(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = _place(content, rng)
    content[at:at] = rng.choice((b"\x00", b"\xff", b"\n", b"=", b":", b"\xff\xff")) * rng.choice(
        (1, 4, 300)
    )


def _nest(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    """Deep brackets, which parsers that call themselves choke on."""
    at = rng.choice((0, _place(content, rng)))
    content[at:at] = rng.choice((b"[", b'{"a":', b"\xfe\xff\x00\xe0\xff\xff\xff\xff")) * 5000


def _splice(content: bytearray, rng: Random, donors: Sequence[bytes]) -> None:
    """The start of this file with the middle of another one."""
    donor = rng.choice(donors) if donors else b""
    if donor:
        start = rng.randrange(len(donor))
        at = _place(content, rng)
        content[at : at + rng.choice((16, 400, len(content)))] = donor[start : start + 4000]


def _swap(content: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    """Two blocks that change places."""
    size = rng.choice((2, 8, 64))
    one, other = _place(content, rng), _place(content, rng)
    a, b = bytes(content[one : one + size]), bytes(content[other : other + size])
    if len(a) == len(b):
        content[one : one + size], content[other : other + size] = b, a


_CHANGES: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    *(_flip_bits, _random_bytes, _integer, _integer, _number_in_text, _number_in_text),
    *(_truncate, _delete, _duplicate, _insert, _splice, _swap, _nest),
)
