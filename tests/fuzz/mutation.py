"""Byte-mutating: what transfer errors, editors and ill will do to a file. Deterministic by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

# What parsers stumble over: ends, numbers at the edge, other line ends, other alphabets, deep nests, and syntax.
TOKENS = (
    b"\t", b"\n", b"\r\n", b"\r", b"\0", b" ", b"", b"-1", b"0", b"1", b"00", b"+5", b"2147483648", b"-2147483649",
    b"9223372036854775808", b"99999999999999999999999", b"1e400", b"1e-400", b"nan", b"-inf", b"1_000", b"0x10",
    b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xe2\x80\xa8", b"\xd9\xa1\xd9\xa2", b"\x85", b"\x1c", b"\xed\xa0\x80",
    b"A" * 70_000, b"," * 5_000, b"[" * 3_000, b"{" * 3_000, b";;", b"=", b"==", b",", b"|", b":", b"::", b".", b"..",
    b"./.", b"0|1|2|3", b"255/256", b"<DEL>", b"<*>", b"*", b"]chr1:5]A", b"GT", b"%00", b"%", b"\"", b"'", b"#",
    b"##", b"&a [*a]", b"*a", b"!!python/object/apply:os.system [id]", b"null", b"true", b"2024-13-45", b"~",
    b"__proto__", b"$where", b"../../etc/passwd", b"1/0", b"\\u0000", b"\\ud800", b"\xf0\x9f\xa7\xac",
)  # fmt: skip

Mutation = Callable[[bytes, random.Random], bytes]


def mutated(seed: bytes, others: Sequence[bytes], dice: random.Random) -> bytes:
    """A seed after one to four mutations."""
    data = seed
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        splice = dice.random() < 0.08
        data = _spliced(data, dice.choice(others), dice) if splice else dice.choice(_MUTATIONS)(data, dice)
    return data


def _place(data: bytes, dice: random.Random) -> int:
    return dice.randrange(len(data) + 1)


def _flip_bit(data: bytes, dice: random.Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _set_byte(data: bytes, dice: random.Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(changed)


def _insert_token(data: bytes, dice: random.Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + dice.choice(TOKENS) + data[at:]


def _insert_noise(data: bytes, dice: random.Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + dice.randbytes(dice.randrange(1, 40)) + data[at:]


def _remove(data: bytes, dice: random.Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + data[at + dice.randrange(1, 60) :]


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: _place(data, dice)]


def _repeat(data: bytes, dice: random.Random) -> bytes:
    at, length = _place(data, dice), dice.randrange(1, 200)
    return data[:at] + data[at : at + length] * dice.choice((2, 3, 50)) + data[at + length :]


def _replace_field(data: bytes, dice: random.Random) -> bytes:
    """One field, between separators, becomes a token: what keeps a file's form and breaks its sense."""
    separators = [index for index, byte in enumerate(data) if byte in b"\t\n,;:=|/ []{}"]
    if len(separators) < 2:
        return _insert_token(data, dice)
    number = dice.randrange(len(separators) - 1)
    return data[: separators[number] + 1] + dice.choice(TOKENS) + data[separators[number + 1] :]


def _swap_lines(data: bytes, dice: random.Random) -> bytes:
    lines = data.split(b"\n")
    one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def _drop_line(data: bytes, dice: random.Random) -> bytes:
    lines = data.split(b"\n")
    del lines[dice.randrange(len(lines))]
    return b"\n".join(lines)


def _spliced(data: bytes, other: bytes, dice: random.Random) -> bytes:
    return data[: _place(data, dice)] + other[_place(other, dice) :]


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bit, _set_byte, _insert_token, _insert_noise, _remove, _cut, _repeat, _replace_field, _replace_field,
    _replace_field, _swap_lines, _drop_line,
)  # fmt: skip
