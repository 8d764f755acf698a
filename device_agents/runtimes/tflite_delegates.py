"""TFLite's external delegates: libraries that run a model's operators on something else than the CPU.

Options: `delegate` is a short name (edgetpu, gpu), a library's name or its path on the board;
`delegate_options` is `key=value,key=value` and is for the delegate alone, which says what it knows.
"""

import os
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from device_agents.runtimes.base import LoadFailed

#: Short names for the libraries as their makers call them.
LIBRARIES = {
    "edgetpu": "libedgetpu.so.1",
    "gpu": "libtensorflowlite_gpu_delegate.so",
}

#: Where each comes from. Google's libedgetpu was built with TensorFlow 2.5: a TFLite of 2.12 or newer loads
#: it and dies of SIGSEGV (google-coral/edgetpu issue 812); builds for newer ones are feranick/libedgetpu's.
_ORIGIN = {
    "edgetpu": "install Coral's libedgetpu1-std, or a libedgetpu built for this version of TFLite",
    "gpu": "build //tensorflow/lite/delegates/gpu:libtensorflowlite_gpu_delegate.so for this board, "
    "or give the path of one",
}

_NO_DEVICE = {
    "edgetpu": "lsusb should show 1a6e:089a or 18d1:9302 (or /dev/apex_0 be there), "
    "and this user be in the group plugdev (or apex)",
}

#: The one operator of a model that edgetpu_compiler made.
_EDGETPU_OPERATOR = "edgetpu-custom-op"


class Delegate(NamedTuple):
    """A loaded delegate; `native` has to live as long as the interpreter it is given to."""

    native: Any
    library: str
    settings: Dict[str, str]


def wanted(options: Dict[str, str], load: Callable[..., Any], package: str) -> Optional[Delegate]:
    """The delegate that a job's options ask for, loaded by the package's `load_delegate`; None for none.

    LoadFailed with the library's name, the reason and a remedy where it does not load.
    """
    name = options.get("delegate", "").strip()
    settings = _settings(options.get("delegate_options", ""))
    if not name:
        if settings:
            raise LoadFailed("delegate_options without a delegate: name one, as in delegate edgetpu")
        return None
    library = LIBRARIES.get(name, name)
    kind = _kind(library)
    if kind == "edgetpu":
        # Should the process die now, the supervisor tells what it said last.
        sys.stderr.write(
            f"loading {library} into {package}; if that crashes, they do not fit: {_ORIGIN['edgetpu']}\n"
        )
        sys.stderr.flush()
    return Delegate(_loaded(load, library, settings, kind), library, settings)


def details_of(delegate: Delegate, interpreter: Any) -> Dict[str, str]:
    """What runs on the delegate; asked before tensors are allocated, when XNNPACK has taken nothing yet."""
    details = {"delegate": delegate.library}
    if delegate.settings:
        details["delegate_options"] = ",".join(f"{key}={value}" for key, value in delegate.settings.items())
    counted = delegated_operators(interpreter)
    if counted is not None:
        details["delegated_operators"] = f"{counted[0]} of {counted[1]}"
    return details


def delegated_operators(interpreter: Any) -> Optional[Tuple[int, int]]:
    """How many of the model's operators delegates have taken, and how many there are.

    The interpreter lists the operators that were replaced beside what replaced them, so those a DELEGATE
    stands for are found backwards from its outputs to its inputs. None where this version does not tell.
    """
    try:
        operators = interpreter._get_ops_details()  # noqa: SLF001 - the only way there is; TF 2.3 and newer
        originals = [one for one in operators if one["op_name"] != "DELEGATE"]
        producers = {int(tensor): number for number, one in enumerate(originals) for tensor in one["outputs"]}
        taken: Set[int] = set()
        for part in (one for one in operators if one["op_name"] == "DELEGATE"):
            inputs = {int(tensor) for tensor in part["inputs"]}
            _walk_back([int(tensor) for tensor in part["outputs"]], inputs, producers, originals, taken)
    except Exception:  # noqa: BLE001 - private, and so free to change in any way; the figure is a courtesy
        return None
    return len(taken), len(originals)


def explain(message: str, delegate: Optional[Delegate]) -> str:
    """TFLite's reason for refusing a model, with what to do where delegates are the reason."""
    if _EDGETPU_OPERATOR in message and delegate is None:
        return (
            f"the model was compiled for the Edge TPU (operator {_EDGETPU_OPERATOR}) and runs on nothing "
            f"else: give the option delegate edgetpu, or the model before edgetpu_compiler"
        )
    if delegate is not None:
        return f"{message} (with the delegate {delegate.library})"
    return message


def _settings(text: str) -> Dict[str, str]:
    settings = {}
    for entry in text.split(","):
        key, found, value = entry.partition("=")
        if entry.strip() and not (found and key.strip()):
            raise LoadFailed(f"delegate_options are key=value,key=value; found {entry.strip()!r}")
        if entry.strip():
            settings[key.strip()] = value.strip()
    return settings


def _kind(library: str) -> str:
    """Which of the known delegates a library is, by its name wherever it lies; empty for others."""
    name = os.path.basename(library)
    return "edgetpu" if name.startswith("libedgetpu") else "gpu" if "gpu_delegate" in name else ""


def _loaded(load: Callable[..., Any], library: str, settings: Dict[str, str], kind: str) -> Any:
    try:
        return load(library, settings)
    except OSError as error:
        remedy = _ORIGIN.get(kind, "give the path of a delegate's library on the board")
        raise LoadFailed(f"the delegate {library} cannot be loaded: {error}; {remedy}") from error
    except AttributeError as error:
        raise LoadFailed(f"{library} is a library and no TFLite delegate: {error}") from error
    except (ValueError, RuntimeError) as error:
        said = str(error).replace(f"Failed to load delegate from {library}", "").strip()
        remedy = _NO_DEVICE.get(kind, "its delegate_options or its device may be at fault")
        raise LoadFailed(
            f"the delegate {library} does not start: {said or 'it gives no reason'}; {remedy}"
        ) from error


def _walk_back(
    tensors: List[int], stop: Set[int], producers: Dict[int, int], operators: List[Any], found: Set[int]
) -> None:
    """Add the operators between some tensors and those at which to stop."""
    waiting = list(tensors)
    while waiting:
        tensor = waiting.pop()
        number = producers.get(tensor)
        if tensor in stop or number is None or number in found:
            continue
        found.add(number)
        waiting.extend(int(source) for source in operators[number]["inputs"])
