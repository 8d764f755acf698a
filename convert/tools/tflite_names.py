"""Shorter names for the tensors of a TFLite file that litert-torch wrote.

It names each by the full path of the modules it comes from, classes with their packages: 700 characters a
tensor, 160 KB of MobileNetV3-Small's 3 MB at int8. Which module it is can be told in fewer.
"""

from __future__ import annotations

import re
from typing import Any

from convert.tools.tflite_signature import packed_model, unpacked_model

#: Modules that the conversion has put around the user's.
_WRAPPERS = re.compile(r"^(ChannelLastIOWrapper|Positional_wrapped)$")


def with_short_names(content: bytes) -> bytes:
    """The file with its tensors named by their modules alone, each name once in its graph."""
    model: Any = unpacked_model(content)
    for graph in model.subgraphs:
        taken: set[str] = set()
        for tensor in graph.tensors:
            name = _once(short_name(tensor.name.decode("utf-8", "replace")), taken)
            taken.add(name)
            tensor.name = name.encode("utf-8")
    return packed_model(model, content)


def short_name(name: str) -> str:
    """Classes without their packages, the last of several fused modules, no wrappers of ours.

    Names that are no such paths stay as they are.
    """
    parts = [part for part in name.split(";") if "/" in part]
    if not parts:
        return name
    modules = [module.rpartition(".")[2] for module in parts[-1].split("/")]
    kept = [module for module in modules if module and not _WRAPPERS.match(module)]
    return "/".join(kept) or name


def _once(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        unique = f"{name};{number}"
        number += 1
    return unique
