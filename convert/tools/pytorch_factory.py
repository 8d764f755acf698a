"""Imports and calls the function that makes a user's network, and says what went wrong in their words."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConvertError, InvalidModel
from convert.sources.source import Source
from convert.tools.pytorch_calls import first_line, raise_if_out_of_memory

Module = Any
Tensor = Any

_OWN_ENVIRONMENT = "Use an environment that has it: --python /path/to/your/environment/bin/python"


@dataclass(frozen=True)
class Made:
    """What a factory returned."""

    module: Module
    examples: tuple[Tensor, ...] | None


def search_first(folder: Path | None) -> None:
    """Looks for modules in `folder` first, from here on: forward() may import some too."""
    if folder is not None and sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))


def called_factory(source: Source) -> Made:
    """The factory's module and example inputs; raises InvalidModel, named for what is wrong with it."""
    import torch

    search_first(source.search)
    factory = _factory(source)
    made = factory if isinstance(factory, torch.nn.Module) else _called(factory, source)
    module, examples = made, None
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module):
        module, examples = made
    if not isinstance(module, torch.nn.Module):
        raise InvalidModel(
            f"{source.factory} returned {made!r:.80} ({type(made).__name__}), not a torch.nn.Module",
            reason="factory_no_module",
            remedy="Let it return the module, or the module and a tuple of example inputs",
        )
    return Made(module, _examples(examples, source))


def _examples(examples: object, source: Source) -> tuple[Tensor, ...] | None:
    import torch

    if examples is None:
        return None
    several = tuple(examples) if isinstance(examples, tuple | list) else (examples,)
    wrong = next((one for one in several if not isinstance(one, torch.Tensor)), None)
    if wrong is not None or not several:
        raise InvalidModel(
            f"{source.factory} returned example inputs with {wrong!r:.80} ({type(wrong).__name__}) in them",
            reason="factory_no_module",
            remedy="Let it return the module and a tuple of tensors",
        )
    return several


def _factory(source: Source) -> Any:
    """The object that the factory's name leads to."""
    assert source.factory is not None
    module_name, function = source.factory.split(":")
    try:
        module = importlib.import_module(module_name)
    except (MemoryError, ConvertError):
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise _module_not_found(source, error.name) from error
        raise InvalidModel(
            f"{module_name} imports {error.name!r}, which {sys.executable} does not have",
            reason="factory_import",
            remedy=_OWN_ENVIRONMENT,
        ) from error
    except (Exception, SystemExit) as error:  # the module is the user's and raises what it likes
        raise InvalidModel(
            f"importing {module_name} fails with {_told(error)}",
            reason="factory_import",
            remedy=_OWN_ENVIRONMENT if isinstance(error, ImportError) else "Correct the module",
        ) from error
    if not hasattr(module, function):
        known = [name for name in vars(module) if callable(getattr(module, name)) and name[0] != "_"]
        raise InvalidModel(
            f"{module_name} ({module.__file__}) has no function {function!r}{_meant(function, known)}",
            reason="factory_not_found",
            remedy="Name a function of it: --factory package.module:function",
        )
    return getattr(module, function)


def _module_not_found(source: Source, missing: str) -> InvalidModel:
    folder = (source.search or Path()).joinpath(*missing.split(".")[:-1])
    near = [item.stem for item in folder.glob("*") if item.suffix == ".py" or item.is_dir()]
    return InvalidModel(
        f"there is no module {missing!r} for the factory {source.factory} in {source.search} or in the "
        f"packages of {sys.executable}{_meant(missing.split('.')[-1], near)}",
        reason="factory_not_found",
        remedy="Run from the folder that holds it, or use the environment it is installed in: --python",
    )


def _meant(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _called(factory: Any, source: Source) -> Any:
    if not callable(factory):
        raise InvalidModel(
            f"{source.factory} is {factory!r:.80}, not a function",
            reason="factory_no_module",
            remedy="Name a function that returns a torch.nn.Module",
        )
    try:
        return factory()
    except (MemoryError, ConvertError):
        raise
    except ModuleNotFoundError as error:
        raise InvalidModel(
            f"{source.factory} imports {error.name!r}, which {sys.executable} does not have",
            reason="factory_import",
            remedy=_OWN_ENVIRONMENT,
        ) from error
    except (Exception, SystemExit) as error:  # the function is the user's and raises what it likes
        raise_if_out_of_memory(error)
        raise InvalidModel(
            f"{source.factory} fails with {_told(error)}",
            reason="factory_failed",
            remedy="A factory is called without arguments and returns a torch.nn.Module",
        ) from error


def _told(error: BaseException) -> str:
    """Class, words and place of an error in the user's code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first_line(error)}{place}"


def _is_ours(file: str) -> bool:
    return file == __file__ or file.startswith("<frozen")
