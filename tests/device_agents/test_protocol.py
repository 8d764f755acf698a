"""The wire types: what one side says the other understands, and nothing else gets through."""

from __future__ import annotations

import json
import math
import random
import subprocess
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents import protocol
from device_agents.protocol import (
    MAX_LINE_BYTES,
    MAX_NUMBER,
    MESSAGES,
    BlobState,
    Job,
    JobEnded,
    ProtocolError,
    TelemetrySample,
    decode,
    encode,
    expect,
)
from tests import interpreters

ENDED = JobEnded(1.5, "ok", None, None, None)

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_PLAIN = {
    str: _TEXT,
    int: st.integers(-MAX_NUMBER, MAX_NUMBER),
    float: st.floats(-9.2e18, 9.2e18, allow_nan=False),
    bool: st.booleans(),
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Everything that may stand where a message says `annotation`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Union:
        return st.none() | values_of(arguments[0])
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(_TEXT, values_of(arguments[1]), max_size=3)
    if hasattr(annotation, "_fields"):
        fields = {name: values_of(kind) for name, kind in annotation.__annotations__.items()}
        return st.builds(annotation, **fields)
    return _PLAIN[annotation]


@pytest.mark.parametrize("name", sorted(MESSAGES))
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_every_message_arrives_as_it_was_sent(name: str, data: st.DataObject) -> None:
    message = data.draw(values_of(MESSAGES[name]))
    line = encode(message)
    assert decode(line) == message
    assert type(decode(line)) is MESSAGES[name]
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_unknown_keys_of_a_newer_peer_are_ignored() -> None:
    body = json.loads(encode(ENDED)) | {"colour": "blue"}
    assert decode(json.dumps(body).encode()) == ENDED


def test_a_missing_key_is_named() -> None:
    body = json.loads(encode(ENDED))
    del body["outcome"]
    with pytest.raises(ProtocolError, match="JobEnded lacks 'outcome'"):
        decode(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("message", "field", "wrong"),
    [
        (BlobState(1, True), "have", True),
        (BlobState(1, True), "have", 1.0),
        (BlobState(1, True), "have", "1"),
        (BlobState(1, True), "have", None),
        (BlobState(1, True), "complete", 1),
        (ENDED, "time", False),
        (ENDED, "time", "now"),
        (ENDED, "message", 7),
        (ENDED, "outcome", ["ok"]),
    ],
)
def test_a_mistyped_key_is_named(message: Any, field: str, wrong: object) -> None:
    body = json.loads(encode(message)) | {field: wrong}
    with pytest.raises(ProtocolError, match=rf"{type(message).__name__}\.{field} is "):
        decode(json.dumps(body).encode())


def test_a_whole_number_will_do_for_seconds() -> None:
    assert decode(encode(ENDED).replace(b"1.5", b"3")) == ENDED._replace(time=3.0)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "1e19", "-1e19"]
)
def test_a_number_that_is_no_time_is_refused(number: str) -> None:
    with pytest.raises(ProtocolError):
        decode(encode(ENDED).replace(b"1.5", number.encode()))


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**400])
def test_a_count_beyond_all_counts_is_refused(number: int) -> None:
    line = encode(BlobState(7, True))
    assert decode(line.replace(b"7", str(2**63 - 1).encode())).have == 2**63 - 1
    with pytest.raises(ProtocolError, match=r"BlobState\.have is "):
        decode(line.replace(b"7", str(number).encode()))


def test_the_name_of_an_unknown_message_is_not_repeated_at_length() -> None:
    with pytest.raises(ProtocolError, match="unknown message type") as error:
        decode(b'{"type":"' + b"x" * 100_000 + b'"}')
    assert len(str(error.value)) < 200


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    ended = decode(encode(ENDED._replace(message="/home/jos\udce9")))
    assert ended.message == "/home/jos?"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"Welcome to Ubuntu 18.04\n",
        b"[]",
        b"null",
        b'"ended"',
        b"{}",
        b'{"type":3}',
        b'{"type":"nonsense"}',
        b'{"type":["ended"]}',
        b'{"type":"ended"',
        b"\xff\xfe\x00",
        b'{"type":"ended","outcome":"\xc3"}',
        b"[" * 100_000,
        b'{"type":"blob","have":' + b"[" * 900 + b"]" * 900 + b"}",
        b"1" * 5000,
    ],
)
def test_what_is_no_message_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(line)


def test_a_line_may_be_as_long_as_the_bound_and_no_longer() -> None:
    empty = len(encode(ENDED._replace(message="")))
    longest = encode(ENDED._replace(message="x" * (MAX_LINE_BYTES - empty)))
    assert len(longest) == MAX_LINE_BYTES
    assert decode(longest).outcome == "ok"
    with pytest.raises(ProtocolError, match=f"longer than {MAX_LINE_BYTES}"):
        decode(longest + b"\n")


def test_another_message_than_the_one_that_is_due_is_refused() -> None:
    with pytest.raises(ProtocolError, match="expected Job, got JobEnded"):
        expect(Job, encode(ENDED))


def test_ten_thousand_damaged_lines_give_protocol_errors_or_messages() -> None:
    rng = random.Random(20261121)
    seeds = [encode(message) for message in some_messages()]
    refused = 0
    for _ in range(10_000):
        line = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(line))
            line[at : at + rng.randint(0, 3)] = rng.choice(
                [b"", rng.randbytes(2), b"null", b"-1", b"[", b"}", b'"', b"1e9", b"true", b"\\ud800"]
            )
        try:
            decode(bytes(line))
        except ProtocolError:
            refused += 1
    assert 5_000 < refused < 10_000


@pytest.mark.parametrize("version", interpreters.AGENT_VERSIONS)
def test_other_pythons_read_and_write_the_same_lines(version: str) -> None:
    python = interpreters.interpreter(version)
    if python is None:
        pytest.skip(interpreters.missing(version))
    lines = b"".join(encode(message) for message in some_messages())
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from device_agents.protocol import ProtocolError, decode, encode\n"
        "for line in sys.stdin.buffer:\n"
        "    sys.stdout.buffer.write(encode(decode(line)))\n"
        'for wrong in (b\'{"type":"blob","have":true,"complete":true}\', b\'\\xff\', b\'[\' * 100000):\n'
        "    try:\n"
        "        decode(wrong)\n"
        "    except ProtocolError:\n"
        "        continue\n"
        "    sys.exit('no ProtocolError')\n"
    )
    root = Path(protocol.__file__).parents[2]
    done = subprocess.run([python, "-c", code, root], input=lines, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout == lines


def some_messages() -> list[Any]:
    """One of each kind, the same every time, with text and numbers that are easily spoilt on the way."""
    rng = random.Random(7)
    return [_sample(kind, rng) for _, kind in sorted(MESSAGES.items())]


def _sample(annotation: Any, rng: random.Random) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Union:
        return _sample(arguments[0], rng) if rng.random() < 0.7 else None
    if origin is list:
        return [_sample(arguments[0], rng) for _ in range(2)]
    if origin is dict:
        return {f"clé {i}": _sample(arguments[1], rng) for i in range(2)}
    if hasattr(annotation, "_fields"):
        return annotation(*(_sample(kind, rng) for kind in annotation.__annotations__.values()))
    samples: dict[type, list[Any]] = {
        str: ["", 'Größe 🦀\n"\\\t\0', "a" * 64],
        int: [0, -1, 2**63 - 1, 10**15 + 1],
        float: [0.1, 1e-9, 9.2e18, math.pi, 1767225600.123456],
        bool: [True, False],
    }
    return rng.choice(samples[annotation])


def test_absent_and_zero_stay_apart() -> None:
    absent = TelemetrySample(1.0, "before", *[None] * 11)
    zero = absent._replace(temperature_c=0.0, throttle_count=0, throttled=False)
    assert decode(encode(absent)).temperature_c is None
    assert decode(encode(zero))[2:10] == (0.0, None, None, None, False, None, 0, None)
