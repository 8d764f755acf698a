"""Loads PyTorch models: a factory of the user's, weights beside it, TorchScript, exported programs.

Nothing of a file is run unasked: weights are unpickled with weights_only, and what can only be loaded by
running code that is in it (pickled modules, exported programs) needs the user's word. torch reads weights
and TorchScript from within the zip file and writes no member out, so names such as ../x in one lead nowhere.
"""

from __future__ import annotations

import random
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import ConvertError, InvalidModel
from convert.sources.source import Source
from convert.tools.pytorch_calls import first_line, raise_if_out_of_memory, require
from convert.tools.pytorch_factory import called_factory, search_first

Module = Any
Tensor = Any

#: Where training scripts keep the weights in a checkpoint.
_WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "net")
_SEED = 0
#: How torch names what weights_only refuses.
_REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
#: Torch's advice goes before it, which is to load the file unsafely.
_UNPICKLER = re.compile(r"WeightsUnpickler error: (.+)")
_LACKING_CLASS = re.compile(r"Can't get attribute '(\w+)' on <module '([\w.]+)'")
#: TorchScript operators that write or read files of their own choice.
_FILE_OPERATOR = re.compile(r"\b(save|from_file)\(")
_SHOWN = 3


def load_module(source: Source) -> tuple[Module, tuple[Tensor, ...] | None]:
    """The module in eval mode, on the CPU, in float32, and its example inputs if it comes with some.

    Factories start from the same random numbers every time, so that weights nobody loads are the same in
    every process. Raises InvalidModel.
    """
    require("torch", InvalidModel)
    import torch

    torch.manual_seed(_SEED)
    random.seed(_SEED)
    np.random.seed(_SEED)
    if source.kind == "torchscript":
        return _prepared(_torchscript(_path(source))), None
    if source.kind == "pt2":
        return _exported_program(source)
    if source.factory is None:
        return _prepared(_unpickled_module(source)), None
    threads = torch.get_num_threads()
    # On one thread sums have one order: what a factory computes is then the same in every process.
    torch.set_num_threads(1)
    made = called_factory(source)
    torch.set_num_threads(threads)
    if source.path is not None:
        _load_weights(made.module, source)
    examples = made.examples
    if examples is not None:
        examples = tuple(one.detach().cpu().float() if one.is_floating_point() else one for one in examples)
    return _prepared(made.module), examples


def _prepared(module: Module) -> Module:
    module.eval()  # dropout and batch norm as in use
    module.float().cpu()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _path(source: Source) -> Path:
    assert source.path is not None
    return source.path


def _torchscript(path: Path) -> Module:
    import torch

    try:
        _refuse_file_operators(path)
        return torch.jit.load(str(path), map_location="cpu")
    except (MemoryError, ConvertError):
        raise
    except Exception as error:  # zipfile and torch raise classes of many kinds on damaged bytes
        raise _invalid(path, error, "TorchScript model") from error


def _refuse_file_operators(path: Path) -> None:
    """Looks into the code before it is loaded, because parts of it may run then."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            is_code = name.endswith(".py") and "/code/" in name
            if is_code and _FILE_OPERATOR.search(archive.read(name).decode("utf-8")):
                raise InvalidModel(
                    f"the TorchScript in {path.name} reads or writes files ({name})",
                    reason="pickle_untrusted",
                    remedy="Take torch.save and torch.from_file out of the model",
                )


def _exported_program(source: Source) -> tuple[Module, tuple[Tensor, ...] | None]:
    import torch

    path = _path(source)
    if not source.trust_pickle:
        # Its sizes and guards are Python expressions, which torch.export.load evaluates.
        raise InvalidModel(
            f"{path.name} is an exported program, and loading one can run code that is in it",
            reason="pickle_untrusted",
            remedy="If you trust where it comes from, add --trust-pickle",
        )
    try:
        program = torch.export.load(path)
        module = program.module()
        # The program itself tells its inputs by their names alone.
        module.keyword_inputs = tuple(program.example_inputs[1]) if program.example_inputs else ()
        # Its graph is of one mode, and every exporter sets the mode.
        module.train = module.eval = lambda *_: module
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise _invalid(path, error, "exported program (torch.export)") from error
    examples = _examples_of(program)
    return _prepared(module), examples


def _examples_of(program: Any) -> tuple[Tensor, ...] | None:
    """The inputs a program was exported with, those by keyword after the others."""
    import torch

    if program.example_inputs is None:
        return None
    arguments, keywords = program.example_inputs
    examples = (*arguments, *keywords.values())
    return examples if all(isinstance(one, torch.Tensor) for one in examples) else None


def _unpickled_module(source: Source) -> Module:
    """The module that was pickled whole; raises InvalidModel `factory_needed` if there are only weights."""
    import torch

    path = _path(source)
    content = _unpickled(source)
    candidates = (
        [content, *(content.get(key) for key in _WEIGHT_KEYS)] if isinstance(content, Mapping) else [content]
    )
    module = next((one for one in candidates if isinstance(one, torch.nn.Module)), None)
    if module is not None:
        return module
    weights = _weights(content)
    if weights is None:
        raise InvalidModel(
            f"{path.name} holds a {type(content).__name__}, neither a module nor weights",
            reason="invalid_model",
            remedy="Save module.state_dict() with torch.save",
        )
    raise InvalidModel(
        f"{path.name} holds {len(weights)} weights ({_list(list(weights))}) but not the network "
        "they belong to",
        reason="factory_needed",
        remedy="Name the function that makes the network: --factory package.module:function",
    )


def _load_weights(module: Module, source: Source) -> None:
    """Loads the state_dict at source.path into the module; raises InvalidModel `weights_mismatch`."""
    import torch

    path = _path(source)
    content = _unpickled(source)
    weights = content.state_dict() if isinstance(content, torch.nn.Module) else _weights(content)
    if weights is None:
        raise InvalidModel(
            f"{path.name} holds no state_dict, but a {type(content).__name__}",
            reason="weights_mismatch",
            remedy="Save module.state_dict() with torch.save",
        )
    own = module.state_dict()
    if not own.keys() & weights.keys():
        # DataParallel and DistributedDataParallel put a name of theirs before all others.
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise_if_out_of_memory(error)
        raise InvalidModel(
            f"the weights in {path.name} do not fit the network of {source.factory}: "
            + (_differences(own, weights) or first_line(error)),
            reason="weights_mismatch",
            remedy="Give the factory that made the network these weights were trained in",
        ) from error


def _differences(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    reshaped = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    lists = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    return "; ".join(f"{len(names)} {label} ({_list(names)})" for label, names in lists if names)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _weights(content: object) -> dict[str, Tensor] | None:
    """The state_dict that `content` is, or holds under one of the usual keys."""
    import torch

    if not isinstance(content, Mapping):
        return None
    for candidate in (content, *(content.get(key) for key in _WEIGHT_KEYS)):
        if isinstance(candidate, torch.nn.Module):
            return dict(candidate.state_dict())
        if isinstance(candidate, Mapping) and candidate:
            tensors = {str(name): one for name, one in candidate.items() if isinstance(one, torch.Tensor)}
            # A state_dict may hold extra state beside its tensors, a checkpoint a tensor beside its weights.
            if 2 * len(tensors) > len(candidate):
                return tensors
    return None


def _unpickled(source: Source) -> Any:
    import torch

    path = _path(source)
    try:
        if not source.trust_pickle:
            return torch.load(path, map_location="cpu", weights_only=True)
        search_first(source.search or path.parent)
        return torch.load(path, map_location="cpu", weights_only=False)
    except MemoryError:
        raise
    except Exception as error:  # unpickling damaged or foreign bytes raises whatever they lead to
        raise_if_out_of_memory(error)
        _raise_if_code_is_missing(path, error)
        refused = _REFUSED_GLOBAL.search(str(error)) if not source.trust_pickle else None
        if refused is None:
            raise _invalid(path, error, "PyTorch file") from error
        raise InvalidModel(
            f"{path.name} is a pickle of Python objects ({refused[1]}), and loading it "
            "runs code that is in it",
            reason="pickle_untrusted",
            remedy="Save module.state_dict() and name its --factory, or, if you trust where the file comes "
            "from, add --trust-pickle",
        ) from error


def _raise_if_code_is_missing(path: Path, error: Exception) -> None:
    """A pickle holds no code, only where it was: that has to be there again."""
    if isinstance(error, ModuleNotFoundError):
        needed = f"the package {error.name!r}"
    elif isinstance(error, AttributeError) and (lacking := _LACKING_CLASS.search(str(error))):
        needed = f"the class {lacking[1]} of the module {lacking[2]}"
    else:
        return
    raise InvalidModel(
        f"{path.name} needs {needed}, which {sys.executable} does not have",
        reason="factory_import",
        remedy="Use an environment that has it (--python /path/to/your/environment/bin/python), or save "
        "module.state_dict() and name its --factory",
    ) from error


def _invalid(path: Path, error: Exception, what: str) -> InvalidModel:
    words = _UNPICKLER.search(str(error))
    return InvalidModel(
        f"{path.name} ({path.stat().st_size} bytes) is not a usable {what}: "
        f"{type(error).__name__}: {words[1] if words else first_line(error).split('. ')[0]}",
        reason="invalid_model",
        remedy="Save the model again and check that the file was copied completely",
    )
