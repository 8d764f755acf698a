from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from convert.errors import ConversionFailed
from convert.processes.pip_run import _failure, _Progress, toolchain_environment
from convert.processes.toolchain import (
    TOOLCHAINS,
    Toolchain,
    find_toolchain,
    prepare_toolchain,
    remove_unused,
    toolchain_key,
)

ROOT = Path(__file__).resolve().parents[3]
PYTHON = "{}.{}".format(*sys.version_info)

TINY = Toolchain(
    name="tiny",
    purpose="for tests",
    pythons=(PYTHON,),
    requirements=("edgebench-tiny==1.0",),
    proof="import edgebench_tiny",
    download_mb=1,
    disk_mb=20,
    seconds=5,
)

#: Makes the toolchain given as JSON in a process of its own, and says what it hears.
BUILDER = """
import json, sys
from pathlib import Path
from convert.processes.toolchain import TOOLCHAINS, Toolchain, prepare_toolchain
fields = json.loads(sys.argv[1])
TOOLCHAINS["tiny"] = Toolchain(**{**fields, "alone": frozenset(fields["alone"])})
print(prepare_toolchain("tiny", Path(sys.argv[2]), lambda line: print(line, flush=True)), flush=True)
"""


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, and no other place for pip to look."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("EDGEBENCH_PYTHONS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    make_wheel(folder, "edgebench-tiny", "1.0")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "toolchains"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Toolchain:
    monkeypatch.setitem(TOOLCHAINS, "tiny", TINY)
    return TINY


def make_wheel(index: Path, name: str, version: str, needs: str | None = None) -> None:
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(index / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}.py", f"version = '{version}'\n")
        wheel.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else ""))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def environments(home: Path) -> list[Path]:
    return list((home / toolchain_key("tiny")).glob("env-*"))


def output_of(python: Path, code: str) -> str:
    return subprocess.run(
        [python, "-I", "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def start_builder(toolchain: Toolchain, home: Path) -> subprocess.Popen[str]:
    fields = json.dumps({**asdict(toolchain), "alone": sorted(toolchain.alone)})
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, fields, str(home)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def read_until(process: subprocess.Popen[str], words: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if words in line:
            return lines
    raise AssertionError(f"ended without {words!r}: {lines}")


class TestTheTable:
    @pytest.mark.parametrize("toolchain", TOOLCHAINS.values(), ids=TOOLCHAINS)
    def test_every_package_is_pinned_to_one_version_and_comes_from_the_index(
        self, toolchain: Toolchain
    ) -> None:
        pin = re.compile(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*(; .+)?")
        assert toolchain.requirements
        assert [line for line in toolchain.requirements if not pin.fullmatch(line)] == []

    @pytest.mark.parametrize("toolchain", TOOLCHAINS.values(), ids=TOOLCHAINS)
    def test_what_is_installed_alone_is_among_the_pins(self, toolchain: Toolchain) -> None:
        assert toolchain.alone <= {line.partition("==")[0] for line in toolchain.requirements}

    def test_the_two_onnx2tf_toolchains_share_their_pins(self) -> None:
        small, large = TOOLCHAINS["onnx2tf"], TOOLCHAINS["onnx2tf-tensorflow"]
        assert set(small.requirements) <= set(large.requirements)


class TestTheKey:
    def test_other_pins_have_another_folder(self, tiny: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
        before = toolchain_key("tiny")
        monkeypatch.setitem(TOOLCHAINS, "tiny", replace(tiny, requirements=("edgebench-tiny==1.1",)))
        assert re.fullmatch(r"tiny-[0-9a-f]{12}", before)
        assert toolchain_key("tiny") != before

    def test_leaving_out_what_a_package_declares_has_another_folder(
        self, tiny: Toolchain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = toolchain_key("tiny")
        monkeypatch.setitem(TOOLCHAINS, "tiny", replace(tiny, alone=frozenset({"edgebench-tiny"})))
        assert toolchain_key("tiny") != before

    def test_measured_sizes_are_not_part_of_it(
        self, tiny: Toolchain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = toolchain_key("tiny")
        monkeypatch.setitem(TOOLCHAINS, "tiny", replace(tiny, disk_mb=21, seconds=6))
        assert toolchain_key("tiny") == before


class TestFinding:
    def test_nothing_is_found_where_nothing_was_made(self, tiny: Toolchain, home: Path) -> None:
        assert find_toolchain("tiny", home) is None
        assert not home.exists()

    def test_a_half_built_one_is_not_found(self, tiny: Toolchain, home: Path) -> None:
        python = home / toolchain_key("tiny") / "env-half" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
        assert find_toolchain("tiny", home) is None

    def test_one_whose_interpreter_was_removed_is_not_found(self, tiny: Toolchain, home: Path) -> None:
        folder = home / toolchain_key("tiny")
        python = folder / "env-old" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to("/nowhere/python")
        (folder / "complete").write_text("env-old")
        assert find_toolchain("tiny", home) is None


@pytest.mark.processes
class TestMaking:
    def test_it_says_what_it_costs_and_what_it_does_and_is_found_afterwards(
        self, tiny: Toolchain, home: Path
    ) -> None:
        told: list[str] = []
        python = prepare_toolchain("tiny", home, told.append)
        assert [re.sub(r"after \d+ s", "after N s", line) for line in told] == [
            "making the tiny toolchain (for tests): about 20 MB on disk, 1 MB to fetch, 1 minute, once",
            "tiny toolchain: installing 1 package",
            "the tiny toolchain is ready after N s",
        ]
        assert output_of(python, "import edgebench_tiny; print(edgebench_tiny.version)") == "1.0"
        assert find_toolchain("tiny", home) == python
        again: list[str] = []
        assert prepare_toolchain("tiny", home, again.append) == python
        assert again == []

    def test_settings_for_other_pythons_have_no_effect(
        self, tiny: Toolchain, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoys, elsewhere = tmp_path / "decoys", tmp_path / "elsewhere"
        decoys.mkdir()
        (decoys / "edgebench_tiny.py").write_text("version = 'decoy'\n")
        (decoys / "pip.py").write_text("raise SystemExit('a stray pip')\n")
        configuration = tmp_path / "pip.conf"
        configuration.write_text("[global]\nuser = true\n")
        foreign = {
            "PYTHONPATH": str(decoys),
            "PYTHONHOME": "/nowhere",
            "VIRTUAL_ENV": "/nowhere",
            "PIP_TARGET": str(elsewhere),
            "PIP_PREFIX": str(elsewhere),
            "PIP_USER": "1",
            "PIP_DRY_RUN": "1",
            "PIP_REQUIRE_VIRTUALENV": "1",
            "PIP_CONSTRAINT": "/nowhere/constraints.txt",
            "PIP_CONFIG_FILE": str(configuration),
        }
        for name, value in foreign.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(decoys)
        python = prepare_toolchain("tiny", home, lambda _line: None)
        assert output_of(python, "import edgebench_tiny; print(edgebench_tiny.version)") == "1.0"
        assert not elsewhere.exists()

    def test_what_is_installed_alone_comes_without_what_it_declares(
        self, tiny: Toolchain, home: Path, index: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_wheel(index, "edgebench-needy", "2.0", needs="edgebench-huge==1.0")
        pins = ("edgebench-tiny==1.0", "edgebench-needy==2.0")
        needy = replace(tiny, requirements=pins, proof="import edgebench_tiny, edgebench_needy")
        monkeypatch.setitem(TOOLCHAINS, "tiny", needy)
        with pytest.raises(ConversionFailed, match="No matching distribution found for edgebench-huge"):
            prepare_toolchain("tiny", home, lambda _line: None)
        monkeypatch.setitem(TOOLCHAINS, "tiny", replace(needy, alone=frozenset({"edgebench-needy"})))
        python = prepare_toolchain("tiny", home, lambda _line: None)
        assert output_of(python, "import edgebench_needy; print(edgebench_needy.version)") == "2.0"

    def test_one_whose_packages_do_not_load_is_not_kept(
        self, tiny: Toolchain, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(TOOLCHAINS, "tiny", replace(tiny, proof="import edgebench_absent"))
        with pytest.raises(ConversionFailed) as caught:
            prepare_toolchain("tiny", home, lambda _line: None)
        assert caught.value.reason == "toolchain_failed"
        assert caught.value.message.startswith("the tiny toolchain could not be made: ")
        assert caught.value.message.endswith("ModuleNotFoundError: No module named 'edgebench_absent'")
        assert environments(home) == []

    def test_without_a_network_the_error_names_what_to_run_once_there_is_one(
        self, tiny: Toolchain, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("PIP_RETRIES", "1")
        with pytest.raises(ConversionFailed) as caught:
            prepare_toolchain("tiny", home, lambda _line: None)
        assert caught.value.reason == "toolchain_offline"
        assert str(caught.value) == (
            "the tiny toolchain cannot be fetched, the package index is out of reach: "
            f"[Errno {errno.ECONNREFUSED}] Connection refused. "
            "Connect this computer once and run: bench convert --prepare tiny"
        )
        assert environments(home) == []

    def test_ctrl_c_leaves_nothing(self, tiny: Toolchain, home: Path) -> None:
        def interrupt(line: str) -> None:
            if "installing" in line:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare_toolchain("tiny", home, interrupt)
        assert find_toolchain("tiny", home) is None
        assert environments(home) == []

    def test_of_two_processes_one_makes_it_and_the_other_waits(
        self, tiny: Toolchain, home: Path, tmp_path: Path
    ) -> None:
        go = tmp_path / "go"
        slow = replace(
            tiny, proof=f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
        )
        with start_builder(slow, home) as first:
            read_until(first, "installing")
            with start_builder(slow, home) as second:
                waited = read_until(second, "waiting")
                go.touch()
                waited += second.communicate()[0].splitlines()
            built = first.communicate()[0].splitlines()
        assert waited == ["waiting for another process that makes the tiny toolchain", built[-1]]
        assert [Path(built[-1])] == [folder / "bin" / "python" for folder in environments(home)]

    def test_what_a_killed_process_left_is_not_found_and_made_anew(self, tiny: Toolchain, home: Path) -> None:
        with start_builder(replace(tiny, proof="import time; time.sleep(30)"), home) as builder:
            read_until(builder, "installing")
            builder.send_signal(signal.SIGKILL)
        [left] = environments(home)
        assert find_toolchain("tiny", home) is None
        python = prepare_toolchain("tiny", home, lambda _line: None)
        assert environments(home) == [python.parent.parent]
        assert python.parent.parent != left

    def test_old_pins_go_on_request_and_only_they(
        self, tiny: Toolchain, home: Path, index: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = toolchain_key("tiny")
        prepare_toolchain("tiny", home, lambda _line: None)
        make_wheel(index, "edgebench-tiny", "1.1")
        monkeypatch.setitem(TOOLCHAINS, "tiny", replace(tiny, requirements=("edgebench-tiny==1.1",)))
        python = prepare_toolchain("tiny", home, lambda _line: None)
        (home / "notes").mkdir()
        assert remove_unused(home) == [old]
        assert find_toolchain("tiny", home) == python
        assert not (home / old).exists()
        assert (home / "notes").exists()


class TestWhatStopsItBeforehand:
    def test_a_disk_without_room(self, tiny: Toolchain, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(TOOLCHAINS, "tiny", replace(tiny, disk_mb=10**9, download_mb=10**6))
        told: list[str] = []
        with pytest.raises(ConversionFailed) as caught:
            prepare_toolchain("tiny", home, told.append)
        assert caught.value.reason == "disk_full"
        assert caught.value.message.endswith("free and making it takes 1002000.0 GB")
        assert told == []
        assert environments(home) == []

    def test_a_home_that_cannot_be_made(self, tiny: Toolchain, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConversionFailed, match="Not a directory") as caught:
            prepare_toolchain("tiny", tmp_path / "file" / "toolchains", lambda _line: None)
        assert caught.value.reason == "toolchain_failed"

    def test_no_python_of_a_version_it_works_with(
        self, tiny: Toolchain, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(TOOLCHAINS, "tiny", replace(tiny, pythons=("3.2", "3.1")))
        with pytest.raises(ConversionFailed) as caught:
            prepare_toolchain("tiny", home, lambda _line: None)
        assert caught.value.reason == "toolchain_python_missing"
        assert caught.value.message.startswith(
            "the tiny toolchain (for tests) needs Python 3.2 or 3.1, which was not found on PATH, in "
        )
        assert caught.value.remedy == "Install Python 3.2, or set EDGEBENCH_PYTHONS=/path/to/python3.2"


class TestWhatPipSays:
    def test_a_disk_that_became_full(self) -> None:
        said = ["Collecting a", "ERROR: Could not install packages: [Errno 28] No space left on device"]
        assert _failure("tiny", said, 1).reason == "disk_full"

    def test_its_errors_are_its_last_words(self) -> None:
        said = ["Collecting a", "ERROR: one", "ERROR: two", "", "[notice] a newer pip"]
        assert _failure("tiny", said, 1).message == "the tiny toolchain could not be made: one; two"

    def test_silence(self) -> None:
        message = "the tiny toolchain could not be made: status 139 without a word"
        assert _failure("tiny", [], 139).message == message

    def test_progress_is_told_once_a_second_at_most(self) -> None:
        told: list[str] = []
        progress = _Progress("tiny", told.append)
        progress("  Downloading http://host/packages/onnx-1.20.1-cp312-abi3-linux.whl (18.2 MB)\n")
        progress("Collecting b==2 (from -r pins.txt (line 2))\n")
        progress("Installing collected packages: onnx, b\n")
        assert told == [
            "tiny toolchain: downloading onnx-1.20.1 (18.2 MB)",
            "tiny toolchain: installing 2 packages",
        ]


def test_children_of_a_toolchain_see_its_programs_first_and_no_settings_for_other_pythons() -> None:
    user = {
        "PATH": "/usr/bin",
        "HOME": "/home/user",
        "https_proxy": "proxy:3128",
        "VIRTUAL_ENV": "/venv",
        "PYTHONPATH": "/lib",
        "PYTHONHOME": "/lib",
        "PYTHONSTARTUP": "x.py",
        "PIP_TARGET": "/target",
        "PIP_INDEX_URL": "mirror",
        "PIP_CERT": "ca.crt",
        "PIP_NO_DEPS": "1",
        "PIP_ROOT": "/root",
    }
    assert toolchain_environment(Path("/toolchain/bin/python"), user) == {
        "PATH": "/toolchain/bin:/usr/bin",
        "HOME": "/home/user",
        "https_proxy": "proxy:3128",
        "PIP_INDEX_URL": "mirror",
        "PIP_CERT": "ca.crt",
    }
