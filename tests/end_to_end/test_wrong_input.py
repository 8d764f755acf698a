"""What a user or a board can get wrong: one clear message, the designed exit code, nothing half-written."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.boards import (
    blackholed_port,
    failures,
    files_in,
    only_failure,
    refused,
    silent_port,
    write_board,
    write_ssh_board,
)
from tests.end_to_end.workplace import Workplace
from tests.openssh import OpenSshServer, free_port, generate_key, missing

pytestmark = pytest.mark.e2e

DIGITS = Path(__file__).parents[2] / "profiles" / "models" / "digits"
#: The shortest run there is: the runtime that computes nothing.
QUICK = ("--measurement", "quick", "--out", "out")
NULL = ("--runtime", "null", *QUICK)


@pytest.fixture
def own_server() -> Iterator[OpenSshServer]:
    """A server that a test may spoil."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    with OpenSshServer() as server:
        yield server


# --- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "jetson-nanoo"], ["no device 'jetson-nanoo'", "did you mean jetson-nano"]),
        (["--device", "jetson-nano"], ["no device of profile 'jetson-nano'", "bench device add"]),
        (["--device", "me@"], ["'me@' is not [user@]host[:port]"]),
        (["--runtime", "onnx"], ["unknown runtime 'onnx'", "did you mean 'onnxruntime'?"]),
        (["--precision", "int9"], ["unknown precision 'int9'", "known: fp32, fp16, int8, int8-dynamic"]),
        (["--measurement", "fast"], ["no measurement profile 'fast'", "mlperf-like, quick, standard"]),
        (["--batch", "0"], ["--batch 0: numbers from 1 on", "for example --batch 1,4,16"]),
        (["--threads", "one"], ["--threads one: not numbers", "for example --threads 1,4"]),
        (["--model", "nope.onnx"], ["model 'nope.onnx': no such file", "built in: digits"]),
        (["--model", "digit"], ["did you mean 'digits'?"]),
        (["--model", "notes.txt"], ["suffix '.txt', which is not a known model format", ".onnx, .tflite"]),
        (["--dataset", "nope.npz"], ["--dataset nope.npz: no such file or folder"]),
        (["--shape", "image"], ["--shape image: not of the form name=1,3,224,224"]),
        (["--shape", "image=1,x"], ["--shape image=1,x: not of the form name=1,3,224,224"]),
        (["--shape", "picture=1,3"], ["--shape picture", "the inputs are 'image'"]),
        (["--metric", "top7"], ["no metric 'top7'", "top1, top5, mean_iou", "package.module:function"]),
        (["--metric", "nope:score"], ["'nope:score' cannot be imported", "package.module:function"]),
        (["--out", "notes.txt"], ["--out notes.txt", "is not a folder"]),
        (["--out", "/proc/x"], ["--out /proc/x: /proc cannot be written to"]),
        (["--store", "notes.txt"], ["cannot use the result database notes.txt: file is not a database"]),
        (["--store", "/proc/x/bench.sqlite"], ["cannot use the result database /proc/x/bench.sqlite"]),
        (["--plan", "nope.toml"], ["nope.toml: No such file"]),
        (["--inventory", "nope.toml"], ["nope.toml: no such inventory file", "bench device add"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_a_wrong_option_is_refused_with_its_remedy(
    workplace: Workplace, arguments: list[str], words: list[str]
) -> None:
    (workplace.folder / "notes.txt").write_text("not a model, not a database, not a folder\n" * 20)
    message = refused(workplace, "run", *arguments)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("command", [("report",), ("report", "--list"), ("verify",)], ids=" ".join)
def test_without_a_database_there_is_nothing_to_show_and_none_is_made(
    workplace: Workplace, command: tuple[str, ...]
) -> None:
    message = refused(workplace, *command)
    assert "there is no result database bench-results/bench.sqlite" in message
    assert "`bench run`" in message
    assert not (workplace.folder / "bench-results").exists()


def test_an_unknown_option_is_refused_and_the_near_one_named(workplace: Workplace) -> None:
    done = workplace.bench("run", "--modle", "x.onnx")
    assert done.status == 2
    assert "--model" in done.err


# --- model files -----------------------------------------------------------------------------------


def test_damaged_models_fail_alone_and_the_good_one_is_measured(workplace: Workplace) -> None:
    for kind in ("onnx", "tflite"):
        content = (DIGITS / f"digits.{kind}").read_bytes()
        (workplace.folder / f"cut-{kind}.{kind}").write_bytes(content[: len(content) // 2])
    (workplace.folder / "empty.onnx").write_bytes(b"")
    (workplace.folder / "page.tflite").write_text("<html>404 Not Found</html>")
    models = ["cut-onnx.onnx", "cut-tflite.tflite", "empty.onnx", "page.tflite", str(DIGITS / "digits.onnx")]
    options = [word for model in models for word in ("--model", model)]
    done = workplace.bench("run", *options, "--runtime", "onnxruntime,tflite", "--precision", "fp32", *QUICK)
    assert done.status == 3, done.err
    records = workplace.results()["records"]
    assert len(records) == 2 * len(models)
    native = {
        record["case"]["model"]: record
        for record in records
        if (record["case"]["runtime"] == "tflite")
        == ("tflite" in "".join(record["case"]["model"].split("-")))
    }
    words = {
        "cut-onnx": "cut-onnx.onnx",
        "cut-tflite": "cut-tflite.tflite",
        "empty": "empty.onnx (0 bytes) is not a usable ONNX model",
    }
    for name, expected in words.items():
        assert native[name]["failure"]["class"] == "model", native[name]
        assert expected in native[name]["failure"]["message"]
    assert {r["failure"]["class"] for r in records if r["case"]["model"] == "page"} == {"model"}
    good = [r for r in records if r["case"]["model"] == "digits" and r["case"]["runtime"] == "onnxruntime"]
    assert [record["status"] for record in good] == ["ok"]


# --- data ------------------------------------------------------------------------------------------


def test_a_dataset_of_the_wrong_shape_is_refused_before_anything_is_measured(workplace: Workplace) -> None:
    np.savez(workplace.folder / "d.npz", image=np.zeros((5, 1, 9, 9), np.float32), labels=np.zeros(5, int))
    message = refused(workplace, "run", "--dataset", "d.npz", "--runtime", "onnxruntime")
    assert "'image' in d.npz has examples of shape (1, 9, 9)" in message
    assert "takes (8, 8, 1)" in message


def test_a_dataset_without_labels_is_refused_because_it_gives_no_accuracy(workplace: Workplace) -> None:
    np.savez(workplace.folder / "d.npz", image=np.zeros((5, 1, 8, 8), np.float32))
    message = refused(workplace, "run", "--dataset", "d.npz", "--runtime", "onnxruntime")
    assert "d.npz" in message
    assert "has no labels" in message
    assert "--calibration" in message


@pytest.mark.parametrize("content", [b"", b"not an archive"], ids=["empty", "text"])
def test_a_dataset_that_is_no_npz_is_refused(workplace: Workplace, content: bytes) -> None:
    (workplace.folder / "d.npz").write_bytes(content)
    message = refused(workplace, "run", "--dataset", "d.npz", "--runtime", "onnxruntime")
    assert "d.npz cannot be read as an .npz of plain arrays" in message


# --- configuration files ---------------------------------------------------------------------------


def test_every_fault_of_an_inventory_is_told_at_once_with_its_field(workplace: Workplace) -> None:
    write_board(workplace, "a", host="me@board", port=70000, profle="x")
    write_board(workplace, "b", profile="jetson-nanoo")
    message = refused(workplace, "run", "--device", "a")
    for words in (
        "devices.toml: devices.a.host: 'me@board' is not a host name",
        "devices.toml: devices.a.port: 70000 is not a port (1 to 65535)",
        "devices.toml: devices.a.profle: unknown key; did you mean 'profile'?",
        "devices.toml: devices.b.host: is missing",
        "devices.toml: devices.b.profile: 'jetson-nanoo' is not a device profile",
        "did you mean 'jetson-nano'?",
    ):
        assert words in message


def test_a_syntax_error_is_told_with_its_line(workplace: Workplace) -> None:
    (workplace.folder / "devices.toml").write_text('[devices.a]\nhost = "h"\nport = = 3\n')
    assert "devices.toml:3:8: Invalid value" in refused(workplace, "run", "--device", "a")
    (workplace.folder / "plan.toml").write_text("models = [1,\n  oops]\n")
    assert "plan.toml:2:3: Invalid value" in refused(workplace, "run", "--plan", "plan.toml")
    (workplace.folder / "model.toml").write_text('name = "x\n')
    assert "model.toml:1:" in refused(workplace, "run", "--model", "model.toml")


def test_every_fault_of_a_plan_is_told_at_once(workplace: Workplace) -> None:
    (workplace.folder / "plan.toml").write_text(
        'models = "digits"\nbatch_sizes = ["1"]\nruntime = ["tflite"]\n'
    )
    message = refused(workplace, "run", "--plan", "plan.toml")
    for words in (
        "plan.toml: models: ",
        "plan.toml: batch_sizes[0]: '1' is not an integer",
        "plan.toml: unknown key 'runtime'; did you mean 'runtimes'?",
    ):
        assert words in message


def test_every_fault_of_a_model_toml_is_told_at_once(workplace: Workplace) -> None:
    (workplace.folder / "model.toml").write_text(
        'name = "x"\ndataset = "nope.npz"\n[sources]\nonnx = "nope.onnx"\n'
    )
    message = refused(workplace, "run", "--model", "model.toml")
    assert "model.toml: sources.onnx: " in message
    assert "model.toml: dataset: " in message
    assert message.count("does not exist") == 2
    (workplace.folder / "model.toml").write_text(
        'name = 3\nmetrik = "top1"\n[sources]\nonnx = "x.onnx"\n[preprocessing]\nresize = "256"\n'
    )
    message = refused(workplace, "run", "--model", "model.toml")
    for words in (
        "model.toml: name: 3 is not a string",
        "model.toml: unknown key 'metrik'; did you mean 'metric'?",
        "model.toml: preprocessing.resize: ",
    ):
        assert words in message


# --- the way to a board ----------------------------------------------------------------------------


def test_a_port_nobody_listens_on_is_unreachable(workplace: Workplace) -> None:
    port = free_port()
    write_board(workplace, "board", host="127.0.0.1", port=port, user="bench")
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["class"] == "infrastructure"
    assert failure["reason"] == "unreachable"
    assert f"127.0.0.1 port {port}" in failure["message"]
    assert "refused" in failure["message"]


@pytest.mark.parametrize("port_of", [silent_port, blackholed_port])
def test_a_host_that_never_answers_is_given_up_at_the_deadline(workplace: Workplace, port_of) -> None:
    (workplace.home / ".ssh").mkdir(mode=0o700)
    (workplace.home / ".ssh" / "config").write_text("Host *\n    ConnectTimeout 2\n")
    with port_of() as port:
        write_board(workplace, "board", host="127.0.0.1", port=port, user="bench")
        begun = time.monotonic()
        failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert time.monotonic() - begun < 60
    assert failure["class"] == "infrastructure"
    assert failure["reason"] in ("unreachable", "link_timeout")
    assert f"127.0.0.1 port {port}" in failure["message"]


def test_a_name_that_does_not_resolve_is_named(workplace: Workplace) -> None:
    write_board(workplace, "board", host="no-such-host.invalid", user="bench")
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["reason"] == "unreachable"
    assert "no-such-host.invalid" in failure["message"]


def test_a_key_the_board_does_not_know_is_named(workplace: Workplace, ssh_server: OpenSshServer) -> None:
    wrong = workplace.folder / "wrong_key"
    generate_key(wrong)
    write_ssh_board(workplace, "board", ssh_server, identity=wrong)
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["reason"] == "access_denied"
    assert str(wrong) in failure["message"]
    assert "ssh-copy-id" in failure["remedy"]


def test_a_changed_host_key_is_refused_with_both_fingerprints(
    workplace: Workplace, own_server: OpenSshServer
) -> None:
    pinned = own_server.fingerprint()
    write_ssh_board(workplace, "board", own_server)
    own_server.replace_host_keys()
    own_server.restart()
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["reason"] == "host_key_changed"
    assert pinned in failure["message"]
    assert own_server.fingerprint() in failure["message"]
    assert "only if the board was flashed or replaced: bench device add board" in failure["remedy"]


def test_an_address_whose_key_is_not_pinned_is_refused(
    workplace: Workplace, ssh_server: OpenSshServer
) -> None:
    done = workplace.bench("run", "--device", ssh_server.destination, *NULL)
    failure = only_failure(workplace, done)
    assert failure["reason"] == "host_key_unknown"
    assert ssh_server.fingerprint() in failure["message"]


def test_a_board_without_that_python_says_so(workplace: Workplace, ssh_server: OpenSshServer) -> None:
    write_ssh_board(workplace, "board", ssh_server, python="python9")
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["reason"] == "no_python"
    assert "no 'python9' on the board" in failure["message"]
    assert "`python` in the inventory" in failure["remedy"]


def test_a_python_that_is_no_python_says_so(workplace: Workplace, ssh_server: OpenSshServer) -> None:
    write_ssh_board(workplace, "board", ssh_server, python="/bin/false")
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["reason"] == "agent_start_failed"
    assert "/bin/false" in failure["message"]


def test_a_login_shell_that_talks_is_named_as_the_cause(
    workplace: Workplace, own_server: OpenSshServer
) -> None:
    own_server.restart('ForceCommand sh -c \'echo "Welcome to the lab"; exec sh -c "$SSH_ORIGINAL_COMMAND"\'')
    write_ssh_board(workplace, "board", own_server)
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["reason"] == "bad_protocol"
    assert "Welcome to the lab" in failure["message"]
    assert "login shell" in failure["remedy"]


# --- the board itself ------------------------------------------------------------------------------

SYSTEM_PYTHON = Path("/usr/bin/python3")


@pytest.fixture
def bare_python() -> Path:
    """A Python that has no onnxruntime."""
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"no {SYSTEM_PYTHON}")
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('onnxruntime') is not None)"
    if subprocess.run([SYSTEM_PYTHON, "-c", code], check=False).returncode:
        pytest.skip(f"{SYSTEM_PYTHON} has onnxruntime")
    return SYSTEM_PYTHON


def test_a_missing_runtime_fails_what_asked_for_it_and_is_unsupported_otherwise(
    workplace: Workplace, ssh_server: OpenSshServer, bare_python: Path
) -> None:
    write_ssh_board(workplace, "board", ssh_server, python=bare_python)
    command = ("run", "--device", "board", "--model", DIGITS / "digits.onnx", "--precision", "fp32", *QUICK)
    failure = only_failure(workplace, workplace.bench(*command, "--runtime", "onnxruntime"))
    assert (failure["class"], failure["reason"]) == ("runtime", "runtime_unavailable")
    assert "onnxruntime does not work there: " in failure["message"]
    assert "No module named" in failure["message"]
    assert (
        failure["remedy"] == "`bench device check board` says what is missing and the command that mends it"
    )

    done = workplace.bench(*command)
    assert done.status == 0, done.err
    statuses = {r["case"]["runtime"]: r["status"] for r in workplace.results()["records"]}
    assert statuses == {"null": "ok", "onnxruntime": "unsupported"}


@pytest.fixture
def small_disk(tmp_path: Path, ssh_server: OpenSshServer) -> Iterator[Path]:
    """A file system of 1 MB that belongs to the board's user."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    folder = ssh_server.home / f"small-{tmp_path.name}"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def test_a_full_disk_is_named_and_nothing_partial_stays(
    workplace: Workplace, ssh_server: OpenSshServer, small_disk: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(700 << 10))
    write_ssh_board(workplace, "board", ssh_server, workspace=small_disk / "edgebench")
    done = workplace.bench("run", "--device", "board", *NULL)
    failure = only_failure(workplace, done)
    assert failure["reason"] == "disk_full"
    assert "bench device clean" in failure["remedy"]
    assert [name for name in files_in(small_disk) if name.endswith(".part")] == []


def test_a_model_that_does_not_fit_is_refused_before_it_is_sent(
    workplace: Workplace, ssh_server: OpenSshServer, small_disk: Path
) -> None:
    python = Path(f"/var/tmp/edgebench-test-pythons-{os.getuid()}/python-3.11")
    if not python.exists():
        pytest.skip("no Python with runtimes (tests/agent_pythons.sh makes them)")
    write_ssh_board(workplace, "board", ssh_server, workspace=small_disk / "edgebench", python=python)
    done = workplace.bench(
        "run", "--device", "board", "--runtime", "onnxruntime", "--precision", "fp32", *QUICK
    )
    failure = only_failure(workplace, done)
    assert failure["reason"] == "disk_full"
    assert "do not fit" in failure["message"]
    assert str(small_disk) in failure["message"]
    assert "bench device clean board" in failure["remedy"]
    assert [name for name in files_in(small_disk) if name.endswith(".part")] == []


def test_a_disk_too_full_for_the_agent_is_named(
    workplace: Workplace, ssh_server: OpenSshServer, small_disk: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes((1 << 20) - (16 << 10)))
    write_ssh_board(workplace, "board", ssh_server, workspace=small_disk / "edgebench")
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["reason"] == "disk_full"
    assert "No space left" in failure["message"]
    assert [name for name in files_in(small_disk) if ".part" in name or name.endswith(".pyz")] == []


def test_a_workspace_that_may_not_be_written_is_named(
    workplace: Workplace, ssh_server: OpenSshServer
) -> None:
    write_ssh_board(workplace, "board", ssh_server, workspace="/proc/edgebench")
    failure = only_failure(workplace, workplace.bench("run", "--device", "board", *NULL))
    assert failure["reason"] == "workspace_unusable"
    assert "/proc/edgebench" in failure["message"]
    assert "`workspace` in the inventory" in failure["remedy"]


def test_broken_boards_do_not_keep_a_healthy_one_from_being_measured(
    workplace: Workplace, ssh_server: OpenSshServer
) -> None:
    write_board(workplace, "gone", host="127.0.0.1", port=free_port(), user="bench")
    write_ssh_board(workplace, "odd", ssh_server, python="python9")
    done = workplace.bench("run", "--device", "gone", "--device", "odd", "--device", "local", *NULL)
    reasons = {device: failure["reason"] for device, failure in failures(workplace, done).items()}
    assert reasons == {"gone": "unreachable", "odd": "no_python"}
    measured = [r for r in workplace.results()["records"] if r["status"] == "ok"]
    assert [record["case"]["device"] for record in measured] == ["local"]


def test_an_unreadable_ssh_config_fails_its_board_only(workplace: Workplace) -> None:
    (workplace.home / ".ssh").mkdir(mode=0o700)
    (workplace.home / ".ssh" / "config").write_bytes(b"\xff\xfe\x00Host\n")
    write_board(workplace, "board", host="127.0.0.1", port=free_port(), user="bench")
    done = workplace.bench("run", "--device", "board", "--device", "local", *NULL)
    assert set(failures(workplace, done)) == {"board"}


def test_a_port_that_is_no_ssh_server_is_named(workplace: Workplace) -> None:
    (workplace.home / ".ssh").mkdir(mode=0o700)
    (workplace.home / ".ssh" / "config").write_text("Host *\n    ConnectTimeout 2\n")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        port = listening.getsockname()[1]
        write_board(workplace, "board", host="127.0.0.1", port=port, user="bench")
        threading.Thread(target=_answer_as_a_web_server, args=(listening,), daemon=True).start()
        done = workplace.bench("run", "--device", "board", *NULL)
        listening.shutdown(socket.SHUT_RDWR)
    assert done.status == 3, done.err
    said = done.err
    assert f"127.0.0.1 port {port} does not talk SSH with us" in said


def _answer_as_a_web_server(listening: socket.socket) -> None:
    """Whoever comes, until it is shut down: a first connection is tried more than once."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
