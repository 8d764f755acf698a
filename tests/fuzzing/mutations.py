"""Ways to damage a line, a list of lines, a file. All draw from the generator they are given."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from device_agents.protocol import MAX_LINE_BYTES, MESSAGES

HOSTILE_TEXT = (
    '</script><img src=x onerror="window.pwned=1">',
    "\x1b[31m\x1b]0;title\x07\x9b2J",
    "\u202egnp.exe\u2066",
    "=cmd|' /C calc'!A0",
    "../../../etc/passwd",
    "/etc/passwd",
    "a\0b\nc\rd",
    "\ud800",
    "{{7*7}}${7*7}%s%n",
    "",
    "1" * 5000 + "." + "2" * 5000,
    "1" * 300_000,
    "x" * 100_000,
)
HOSTILE_NUMBERS = (
    0, -1, 1, 2, 3, 255, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63) + 1, 2**63, 2**64, 10**30, 10**400,
    0.5, -0.0, 1e-320, 5e-324, 1e18, 9.2e18, -9.2e18, 1e19, 1e308, -1e308, float("nan"), float("inf"),
)  # fmt: skip
#: Those that a decoder lets through, so that what comes after it gets its share.
PASSING_NUMBERS = tuple(number for number in HOSTILE_NUMBERS if abs(number) < 2**63)
HOSTILE_OTHERS: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], [None], ["x"], {"": ""}, {"type": "ended"}, {"\ud800": 1}, [0] * 3000,
)  # fmt: skip


def mutated_line(rng: random.Random, line: bytes) -> bytes:
    """A line with one fault or a few; as a rule it still ends as lines do."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        # Most faults keep the line's form, or nothing behind the decoder would ever see one.
        ways = _TEXT_WAYS if rng.random() < 0.15 else _VALUE_WAYS
        line = rng.choice(ways)(rng, line)
    return line


def mutated_lines(rng: random.Random, lines: Sequence[bytes], faults: int) -> tuple[list[bytes], int]:
    """The lines with so many faulty ones, and sometimes in another order; says how many are faulty."""
    damaged = list(lines)
    for _ in range(faults):
        at = rng.randrange(len(damaged))
        damaged[at] = mutated_line(rng, damaged[at])
    disorder = rng.random()
    if disorder < 0.05:
        rng.shuffle(damaged)
    elif disorder < 0.15:
        damaged.insert(rng.randrange(len(damaged) + 1), rng.choice(damaged))
    elif disorder < 0.25:
        del damaged[rng.randrange(len(damaged))]
    elif disorder < 0.3:
        one, other = rng.randrange(len(damaged)), rng.randrange(len(damaged))
        damaged[one], damaged[other] = damaged[other], damaged[one]
    return damaged, faults


def mutated_file(rng: random.Random, content: bytes) -> bytes:
    """A file after a power cut, on a worn card, or by an attacker."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        content = rng.choice(_FILE_WAYS)(rng, content)
    return content


def endless(unit: bytes, size: int) -> Iterator[bytes]:
    """So many bytes without a newline, piece by piece: nobody holds all of them."""
    piece = unit * (65536 // len(unit))
    for _ in range(size // len(piece)):
        yield piece


# --- bytes ----------------------------------------------------------------------------------------


def _flip_bits(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    junk = (
        b"\xff\xfe",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\0",
        b"\n",
        b"\r\n",
        b"NaN",
        b"Welcome!\n",
        rng.randbytes(16),
    )
    return data[:at] + rng.choice(junk) + data[at:]


def _repeat_slice(rng: random.Random, data: bytes) -> bytes:
    begin, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:end] + data[begin:]


def _drop_slice(rng: random.Random, data: bytes) -> bytes:
    begin, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:begin] + data[end:]


def _zero_slice(rng: random.Random, data: bytes) -> bytes:
    begin, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:begin] + bytes(end - begin) + data[end:]


def _nest(rng: random.Random, _data: bytes) -> bytes:
    depth = rng.choice((500, 900, 990, 5_000, 100_000))
    inner = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return b'{"type":"ended","message":' + inner[0] * depth + b"0" + inner[1] * depth + b"}\n"


def _long(rng: random.Random, _data: bytes) -> bytes:
    size = rng.choice((MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1))
    head, tail = b'{"type":"waiting","since":1,"time":1,"holder":"', b'"}\n'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def _rarely(way: Callable[[random.Random, bytes], bytes]) -> Callable[[random.Random, bytes], bytes]:
    """What takes long is done in one case of thirty."""
    return lambda rng, data: way(rng, data) if rng.random() < 1 / 30 else _flip_bits(rng, data)


# --- values ---------------------------------------------------------------------------------------


def hostile_value(rng: random.Random) -> Any:
    """Text, a number, or something of another type."""
    return rng.choice(rng.choice((HOSTILE_TEXT, HOSTILE_NUMBERS, HOSTILE_OTHERS)))


def _with_value(change: Callable[[random.Random, dict[str, Any]], None]) -> Callable[..., bytes]:
    def way(rng: random.Random, line: bytes) -> bytes:
        try:
            body = json.loads(line)
        except (ValueError, RecursionError):
            return _flip_bits(rng, line)
        if not isinstance(body, dict) or not body:
            return _flip_bits(rng, line)
        change(rng, body)
        return json.dumps(body, separators=(",", ":"), sort_keys=True).encode() + b"\n"

    return way


def _replace(rng: random.Random, body: dict[str, Any]) -> None:
    """Another value somewhere, as a rule of the type it had."""
    within: Any = body
    while True:
        keys = list(within) if isinstance(within, dict) else list(range(len(within)))
        key = rng.choice(keys)
        value = within[key]
        if not (isinstance(value, dict | list) and value and rng.random() < 0.7):
            break
        within = value
    if rng.random() < 0.1:
        within[key] = hostile_value(rng)
    elif isinstance(value, str):
        within[key] = rng.choice(HOSTILE_TEXT)
    elif isinstance(value, bool):
        within[key] = not value
    elif isinstance(value, int):
        within[key] = rng.choice([number for number in PASSING_NUMBERS if isinstance(number, int)])
    elif isinstance(value, float):
        within[key] = rng.choice(PASSING_NUMBERS)
    elif isinstance(value, dict):
        within[key] = {rng.choice(HOSTILE_TEXT): rng.choice((1, "x", hostile_value(rng)))}
    else:
        within[key] = rng.choice(HOSTILE_TEXT) if rng.random() < 0.2 else rng.choice(PASSING_NUMBERS)


def _remove_key(rng: random.Random, body: dict[str, Any]) -> None:
    del body[rng.choice(list(body))]


def _add_key(rng: random.Random, body: dict[str, Any]) -> None:
    body[rng.choice(("new_in_version_3", "type", "time", "details"))] = hostile_value(rng)


def _other_type(rng: random.Random, body: dict[str, Any]) -> None:
    body["type"] = rng.choice([*MESSAGES, "unheard_of", 7, None])


def _other_protocol(rng: random.Random, body: dict[str, Any]) -> None:
    body["protocol"] = rng.choice((1, 3, 99, -1, 10**400, "3"))


_TEXT_WAYS = (
    _flip_bits, _truncate, _insert, _repeat_slice, _drop_slice, _zero_slice, _rarely(_nest), _rarely(_long)
)  # fmt: skip
_VALUE_WAYS = (
    *[_with_value(_replace)] * 16,
    _with_value(_remove_key), _with_value(_add_key), _with_value(_other_type), _with_value(_other_protocol),
)  # fmt: skip
_FILE_WAYS = (_flip_bits, _truncate, _insert, _repeat_slice, _drop_slice, _zero_slice)
