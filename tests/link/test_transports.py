"""What every way to a board has in common: one suite over all of them."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from harness.errors import LinkLost, LinkTimeout
from harness.link.transport import STDERR_LIMIT_BYTES, Transport, run_command


def test_a_command_gets_its_input_and_gives_output_and_status(transport: Transport) -> None:
    done = run_command(transport, ["sh", "-c", "cat; echo trouble >&2; exit 7"], stdin=b"from here")
    assert (done.status, done.stdout, done.stderr) == (7, b"from here", "trouble\n")


def test_a_command_ended_by_a_signal_has_its_negative_number(transport: Transport) -> None:
    # Not HUP, which is ignored under nohup and so by all that is started there.
    assert run_command(transport, ["sh", "-c", "kill -TERM $$"]).status == -15
    assert run_command(transport, ["sh", "-c", "kill -SEGV $$"]).status == -11


def test_an_unknown_program_ends_with_127_as_in_a_shell(transport: Transport) -> None:
    done = run_command(transport, ["no-such-program-here"])
    assert done.status == 127
    assert "no-such-program-here" in done.stderr


@pytest.mark.parametrize(
    "word",
    [
        "",
        " ",
        "a b",
        "it's",
        '"',
        "$HOME",
        "`id`",
        "$(id)",
        "\\",
        "\n",
        "-n",
        "*",
        "ä€😀",
        "~root",
        "a;b",
        "&",
        "\t|",
        "!x",
    ],
)
def test_arguments_arrive_as_they_are(transport: Transport, word: str) -> None:
    done = run_command(transport, ["printf", "<%s>", "first", word])
    assert done.stdout.decode() == f"<first><{word}>"


def test_a_file_name_that_is_not_utf8_arrives_as_it_is(transport: Transport) -> None:
    done = run_command(transport, ["printf", "%s", os.fsdecode(b"caf\xe9")])
    assert done.stdout == b"caf\xe9"


def test_a_leading_tilde_means_the_home_folder_there(transport: Transport) -> None:
    home = run_command(transport, ["sh", "-c", "printf %s $HOME"]).stdout
    assert run_command(transport, ["printf", "%s", "~/a dir/x"]).stdout == home + b"/a dir/x"
    assert run_command(transport, ["printf", "%s", "x~/y"]).stdout == b"x~/y"


def test_an_argument_with_nul_is_refused(transport: Transport) -> None:
    with pytest.raises(ValueError, match="NUL"):
        transport.start(["printf", "a\0b"])


def test_much_data_goes_there_unchanged(transport: Transport) -> None:
    data = os.urandom(1 << 20) * 24
    done = run_command(transport, ["sha256sum"], stdin=data)
    assert done.stdout.decode().split()[0] == hashlib.sha256(data).hexdigest()


def test_much_data_comes_back_unchanged(transport: Transport) -> None:
    channel = transport.start(["sh", "-c", "head -c 24000000 /dev/zero | tr '\\0' 'x'"])
    digest, size = hashlib.sha256(), 0
    while chunk := channel.read(1 << 20, 10):
        digest.update(chunk)
        size += len(chunk)
    assert (size, channel.wait(5)) == (24_000_000, 0)
    assert digest.hexdigest() == hashlib.sha256(b"x" * 24_000_000).hexdigest()
    channel.close()


def test_data_goes_both_ways_at_once(transport: Transport) -> None:
    channel = transport.start(["cat"])
    block = os.urandom(200_000)
    for _ in range(20):
        channel.write(block, 5)
        back = b""
        while len(back) < len(block):
            back += channel.read(len(block), 5)
        assert back == block
    channel.finish_input()
    assert channel.read(1, 5) == b""
    assert channel.wait(5) == 0
    channel.close()


def test_read_returns_what_is_there_without_waiting_for_more(transport: Transport) -> None:
    channel = transport.start(["sh", "-c", "echo one; sleep 30"])
    assert channel.read(65536, 5) == b"one\n"
    channel.close()


def test_a_flood_on_standard_error_blocks_nothing_and_keeps_its_end(transport: Transport) -> None:
    flood = "head -c 8000000 /dev/zero | tr '\\0' 'e' >&2; echo last >&2; echo done"
    done = run_command(transport, ["sh", "-c", flood], timeout_s=20)
    assert (done.status, done.stdout) == (0, b"done\n")
    assert done.stderr.endswith("elast\n")
    assert len(done.stderr) == STDERR_LIMIT_BYTES


def test_a_flood_on_standard_error_blocks_nothing_while_nobody_reads(transport: Transport) -> None:
    channel = transport.start(["sh", "-c", "head -c 8000000 /dev/zero >&2; exit 3"])
    assert channel.wait(20) == 3
    channel.close()


def test_each_wait_has_a_deadline(transport: Transport) -> None:
    channel = transport.start(["sleep", "30"])
    started = time.monotonic()
    with pytest.raises(LinkTimeout, match=r"said nothing for 0\.1 s"):
        channel.read(1, 0.1)
    with pytest.raises(LinkTimeout, match=r"did not end within 0\.1 s"):
        channel.wait(0.1)
    with pytest.raises(LinkTimeout, match=r"took no input for 0\.1 s"):
        channel.write(bytes(32 << 20), 0.1)
    assert time.monotonic() - started < 5
    channel.close()


def test_a_late_answer_still_comes_after_a_timeout(transport: Transport) -> None:
    channel = transport.start(["sh", "-c", "read line; echo got $line"])
    with pytest.raises(LinkTimeout):
        channel.read(100, 0.05)
    channel.write(b"it\n", 5)
    assert channel.read(100, 5) == b"got it\n"
    assert channel.wait(5) == 0
    channel.close()


def test_writing_to_a_command_that_has_ended_is_a_lost_link_and_its_last_words_stay(
    transport: Transport,
) -> None:
    channel = transport.start(["sh", "-c", "echo refused; exit 9"])
    assert channel.wait(5) == 9
    with pytest.raises(LinkLost):
        for _ in range(100):
            channel.write(bytes(1 << 20), 5)
    assert channel.read(100, 5) == b"refused\n"
    channel.close()


def test_a_background_child_does_not_hold_up_the_end(transport: Transport) -> None:
    started = time.monotonic()
    channel = transport.start(["sh", "-c", "sleep 3 & exit 4"])
    assert channel.wait(5) == 4
    channel.close()
    assert time.monotonic() - started < 2


def test_closing_twice_and_closing_early_are_fine(transport: Transport) -> None:
    channel = transport.start(["cat"])
    channel.close()
    channel.close()
    with pytest.raises(LinkLost):
        channel.write(b"x", 1)


def test_a_transport_runs_commands_side_by_side_and_again_after_close(transport: Transport) -> None:
    slow, fast = transport.start(["sh", "-c", "read x; echo slow"]), transport.start(["echo", "fast"])
    assert fast.read(100, 5) == b"fast\n"
    slow.write(b"\n", 5)
    assert slow.read(100, 5) == b"slow\n"
    slow.close()
    fast.close()
    transport.close()
    transport.close()
    assert run_command(transport, ["echo", "again"]).stdout == b"again\n"


def test_a_command_that_does_not_read_its_input_is_judged_by_its_status(transport: Transport) -> None:
    unread = b"x" * (4 << 20)
    done = run_command(transport, ["sh", "-c", "echo no room >&2; exit 3"], stdin=unread)
    assert (done.status, done.stderr.strip()) == (3, "no room")
