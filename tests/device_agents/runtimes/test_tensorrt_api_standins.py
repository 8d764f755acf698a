"""The stand-ins for TensorRT have the names of the real packages, and the agent uses only such names."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import pytest

from tests.standins.loading import GENERATIONS, tensorrt
from tests.standins.placing import CAPTURES

AGENT = Path(__file__).parents[3] / "device_agents" / "runtimes" / "tensorrt"

MODULE = "the module"

#: What the agent's variables hold, by their names (without a leading underscore).
CLASS_OF = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "cache": "ITimingCache",
    "tensor": "ITensor",
    "flags": "BuilderFlag",
    "creation": "NetworkDefinitionCreationFlag",
    "severity": "ILogger.Severity",
    "trt": MODULE,
}


@functools.cache
def loaded(version: str) -> ModuleType:
    with tensorrt(version) as module:
        return module


@pytest.fixture(params=GENERATIONS)
def trt(request: pytest.FixtureRequest) -> ModuleType:
    return loaded(request.param)


def _public(owner: object) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def _captured(attributes: dict[str, object]) -> set[str]:
    return {name for name in attributes if not name.startswith("_")}


def test_every_class_has_the_attributes_of_its_generation_and_no_others(trt: ModuleType) -> None:
    shape = trt.SHAPE
    classes = {name: attributes for name, attributes in shape.classes.items() if "." not in name}
    wrong = {
        name: _public(getattr(trt, name)) ^ _captured(attributes)
        for name, attributes in classes.items()
        if _public(getattr(trt, name)) != _captured(attributes)
    }
    assert wrong == {}


def test_every_enumeration_has_the_members_of_its_generation(trt: ModuleType) -> None:
    enums = {name: members for name, members in trt.SHAPE.enums.items() if "." not in name}
    ours = {
        name: {word: int(member) for word, member in getattr(trt, name).__members__.items()} for name in enums
    }
    assert ours == enums


def test_the_module_has_no_class_that_its_generation_lacks(trt: ModuleType) -> None:
    classes = {name for name in _public(trt) if isinstance(getattr(trt, name), type) and name[0].isupper()}
    assert classes - {*trt.SHAPE.classes, *trt.SHAPE.enums, "Bound", "Enumeration"} == set()


def test_methods_take_the_arguments_of_the_real_ones(trt: ModuleType) -> None:
    wrong, compared = {}, 0
    for name, words in trt.WRITTEN.items():
        for word, signatures in trt.SHAPE.attributes(name).items():
            if word not in {*words, "__init__"} or not isinstance(signatures, list) or not signatures:
                continue
            parameters = inspect.signature(getattr(getattr(trt, name), word)).parameters.values()
            if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
                continue
            ours = [parameter.name for parameter in parameters][1:]
            compared += 1
            if ours not in [_parameters(signature) for signature in signatures]:
                wrong[f"{name}.{word}"] = (ours, signatures)
    assert (wrong, compared > 50) == ({}, True)


def _parameters(signature: str) -> list[str]:
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    return [name for name in re.findall(r"(?:^|, )(\w+): ", inside) if name != "self"]


def test_nothing_is_written_that_no_generation_has() -> None:
    known, written = defaultdict(set), {}
    for version in GENERATIONS:
        written = loaded(version).WRITTEN
        for name, attributes in loaded(version).SHAPE.classes.items():
            known[name] |= _captured(attributes)
    assert {name: words - known[name] for name, words in written.items() if words - known[name]} == {}


def _names_by_class() -> dict[str, set[str]]:
    """Every name that some captured TensorRT has, by class; of the module itself under MODULE."""
    known: dict[str, set[str]] = defaultdict(set)
    for path in CAPTURES.glob("*.json"):
        shape = json.loads(path.read_text(encoding="utf-8"))
        for table in (shape["classes"], shape["enums"]):
            for name, attributes in table.items():
                known[name] |= {*attributes, "__members__"}
        known[MODULE] |= {
            *shape["classes"],
            *shape["enums"],
            *shape["functions"],
            *shape["values"],
            "__version__",
        }
    return known


def _uses() -> set[tuple[str, str]]:
    """(class, attribute) that the agent's code names, be it by a dot or by hasattr and getattr."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(AGENT.glob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {name for node in nodes if isinstance(node, ast.ClassDef) for name in _members(node)}
    uses = {(_receiver(node.value), node.attr) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        asks = isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr")
        if asks and isinstance(node.args[1], ast.Constant):
            uses.add((_receiver(node.args[0]), node.args[1].value))
    known = _names_by_class()
    return {
        (CLASS_OF.get(receiver, receiver), name)
        for receiver, name in uses
        if name not in own and (receiver in CLASS_OF or receiver in known)
    }


def _members(owner: ast.ClassDef) -> set[str]:
    """Methods and annotated fields of a class of the agent."""
    methods = {part.name for part in owner.body if isinstance(part, ast.FunctionDef)}
    return methods | {part.target.id for part in owner.body if isinstance(part, ast.AnnAssign)}


def _receiver(node: ast.expr) -> str:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lstrip("_")


def test_the_agent_uses_only_names_that_some_tensorrt_has() -> None:
    known, uses = _names_by_class(), _uses()
    assert {(owner, name) for owner, name in uses if name not in known[owner]} == set()


def test_the_agent_was_looked_at() -> None:
    """The test above says something only while the agent's variables are named as CLASS_OF has them."""
    counts = Counter(owner for owner, _ in _uses())
    least = {"IBuilderConfig": 10, "ICudaEngine": 6, "IExecutionContext": 6, "Builder": 3, MODULE: 8}
    assert {owner: counts[owner] for owner in least if counts[owner] < least[owner]} == {}


@pytest.mark.parametrize(
    ("version", "owner", "name", "there"),
    [
        ("8.0.1.6", "ICudaEngine", "create_engine_inspector", False),
        ("8.2.1.8", "ICudaEngine", "create_engine_inspector", True),
        ("8.2.1.8", "IBuilderConfig", "set_memory_pool_limit", False),
        ("8.2.1.8", "IExecutionContext", "execute_async_v3", False),
        ("8.2.1.8", "BuilderFlag", "DIRECT_IO", False),
        ("8.5.2.2", "IBuilderConfig", "set_memory_pool_limit", True),
        ("8.5.2.2", "IExecutionContext", "execute_async_v3", True),
        ("8.5.2.2", "IBuilderConfig", "builder_optimization_level", False),
        ("8.6.1.6", "IBuilderConfig", "builder_optimization_level", True),
        ("8.6.1.6", "ICudaEngine", "num_bindings", True),
        ("10.3.0.30", "ICudaEngine", "num_bindings", False),
        ("10.3.0.30", "IBuilderConfig", "max_workspace_size", False),
        ("10.3.0.30", "NetworkDefinitionCreationFlag", "EXPLICIT_BATCH", True),
        ("10.13.0.35", "BuilderFlag", "INT8", True),
        ("10.13.0.35", "Builder", "build_engine_with_config", True),
        ("11.4.1.1", "NetworkDefinitionCreationFlag", "EXPLICIT_BATCH", False),
        ("11.4.1.1", "BuilderFlag", "FP16", False),
        ("11.4.1.1", "Builder", "platform_has_fast_fp16", False),
        ("11.4.1.1", "ICudaEngine", "device_memory_size", False),
    ],
)
def test_what_came_and_went(version: str, owner: str, name: str, there: bool) -> None:
    assert hasattr(getattr(loaded(version), owner), name) is there


def test_a_version_there_is_no_stand_in_for_is_refused() -> None:
    with pytest.raises(
        ImportError, match=r"STANDIN_TENSORRT is '7\.1\.3'; there is a stand-in for 8\.0\.1\.6, "
    ):
        tensorrt("7.1.3").__enter__()


def test_without_a_version_there_is_no_tensorrt() -> None:
    with pytest.raises(ImportError, match="No module named 'tensorrt'"):
        tensorrt("").__enter__()
