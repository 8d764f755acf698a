"""Writes the shape of TensorRT's Python API, as one binding wheel really has it, to a JSON file.

    python -m pip download --no-deps -d WHEELS tensorrt-cu12-bindings==10.3.0
    python tests/standins/capture_tensorrt_api.py WHEELS/tensorrt_cu12_bindings-10.3.0-cp311-*.whl OUT.json

A binding wheel holds the extension module and no library, so it does not import by itself. Here each library
it wants (libnvinfer.so.10 and the like) is made on the spot with `cc`: it exports every function that the
extension module leaves undefined, and each answers NULL. Importing the module calls none of them, so all its
classes, enumerations and signatures are there as the maker compiled them. Nothing is built or run with it.

Only names, numbers and signatures are kept; they are facts. Wants cc, nm and readelf, and the Python that the
wheel is for.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path

#: Special methods that a caller may lean on; the rest of them every class has.
SPECIAL = (
    "__enter__",
    "__exit__",
    "__getitem__",
    "__setitem__",
    "__len__",
    "__bool__",
    "__call__",
    "__del__",
)

#: What the libraries of TensorRT export and the extension module calls.
WANTED = re.compile(r"^(create\w+_INTERNAL|get\w+|initLibNvInferPlugins|_ZN\d+nv\w+)$")


def main() -> None:
    """Unpack, import in a child with libraries made for it, write what the child saw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with zipfile.ZipFile(arguments.wheel) as archive:
            archive.extractall(place / "wheel")
        (package,) = (path.parent.name for path in place.glob("wheel/tensorrt*/__init__.py"))
        (module,) = place.glob(f"wheel/{package}/tensorrt*.so")
        make_libraries(module, place / "libraries")
        shape = subprocess.run(
            [sys.executable, __file__, "--dump", package],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(place / "libraries"),
                "PYTHONPATH": str(place / "wheel"),
            },
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    origin = {
        "wheel": arguments.wheel.name,
        "sha256": hashlib.sha256(arguments.wheel.read_bytes()).hexdigest(),
        "made_by": "tests/standins/capture_tensorrt_api.py",
    }
    arguments.out.write_text(as_text({"origin": origin, **json.loads(shape)}), encoding="utf-8")


def make_libraries(module: Path, folder: Path) -> None:
    """The libraries of TensorRT that `module` is linked with, of functions that answer NULL."""
    folder.mkdir()
    symbols = _output("nm", "-D", "--undefined-only", str(module))
    names = [name for name in (line.split()[-1] for line in symbols.splitlines()) if WANTED.match(name)]
    source = "\n".join(f"void *{name}(void) {{ return 0; }}" for name in names)
    for library in re.findall(r"\[(lib(?:nv|tensorrt)[\w.]+)\]", _output("readelf", "-d", str(module))):
        subprocess.run(
            [
                "cc",
                "-w",
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{library}",
                "-o",
                folder / library,
                "-x",
                "c",
                "-",
            ],
            input=source,
            text=True,
            check=True,
        )


def dump(package: str) -> None:
    """Print the shape of an importable package."""
    module = importlib.import_module(package)
    shape: dict[str, object] = {"version": module.__version__, "classes": {}, "enums": {}, "functions": {}}
    shape["values"] = sorted(
        name for name, value in vars(module).items() if not name.startswith("_") and _is_member(value)
    )
    _describe(module, package, "", shape)
    sys.stdout.write(json.dumps(shape))


def _describe(holder: object, package: str, prefix: str, shape: dict[str, dict[str, object]]) -> None:
    for name, value in sorted(vars(holder).items()):
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        if isinstance(value, type) and value.__module__.startswith(package):
            if "__members__" in vars(value):
                members = value.__members__.items()
                shape["enums"][prefix + name] = {word: int(member) for word, member in members}
            else:
                shape["classes"][prefix + name] = _attributes(value, package)
                _describe(value, package, prefix + name + ".", shape)
        elif callable(value) and not prefix and str(getattr(value, "__module__", "")).startswith(package):
            shape["functions"][name] = _signatures(value, package)


def _attributes(owner: type, package: str) -> dict[str, object]:
    """Name -> signatures of a method, "property" for anything read; inherited ones too."""
    found: dict[str, object] = {}
    for name in dir(owner):
        if name.startswith("_") and name not in (*SPECIAL, "__init__"):
            continue
        value = getattr(owner, name)
        if isinstance(value, type):
            found[name] = "class"
        elif _is_member(value):
            found[name] = "value"
        elif callable(value):
            found[name] = _signatures(value, package)
        else:
            found[name] = "property" if _settable(owner, name) else "read-only property"
    return found


def _settable(owner: type, name: str) -> bool:
    return getattr(getattr(owner, name), "fset", None) is not None


def _is_member(value: object) -> bool:
    return not isinstance(value, type) and hasattr(type(value), "__members__")


def _signatures(function: object, package: str) -> list[str]:
    """The lines of a docstring that are signatures, without the module's name; [] where it has none."""
    lines = (getattr(function, "__doc__", None) or "").splitlines()
    found = [line.strip() for line in lines if re.match(r"^(\d+\. )?\w+\(.*\) -> ", line.strip())]
    short = (re.sub(package.replace(".", r"\.") + r"\.(\w+\.)?(?=[A-Z])", "", line) for line in found)
    return [re.sub(r"^\d+\. ", "", re.sub(r"<([\w.]+): -?\d+>", r"\1", line)) for line in short]


def as_text(shape: dict[str, object]) -> str:
    """JSON with a class on each line: as small as that, and a change of one shows as one."""
    parts = []
    for key, value in shape.items():
        if key in ("classes", "enums", "functions"):
            rows = ",\n".join(
                f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(value.items())
            )
            parts.append(f"{json.dumps(key)}: {{\n{rows}\n}}")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    if sys.argv[1:2] == ["--dump"]:
        dump(sys.argv[2])
    else:
        main()
