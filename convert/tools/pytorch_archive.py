"""Says what in an exported program (.pt2) could run code while it is loaded, before torch reads it.

torch.export.load unpickles some members, evaluates symbolic sizes as Python expressions, looks operators
up by dotted names and loads compiled libraries. What is plain weights and operators has none of that.
torch reads all of its archives from within the zip file: no member is ever written out under its name, so
names such as ../x lead nowhere.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

#: Operators that torch's own exporter writes: registered ones, and arithmetic of symbolic sizes.
_OPERATOR = re.compile(
    r"^(torch\.ops\.(?!_)\w+\.(?!_[a-z]+__$)\w+(\.\w+)?"
    r"|torch\.sym_(int|float|max|min|not|sqrt|sum|ite)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
    r"|math\.(ceil|floor|trunc|sqrt))$"
)
_OPERATOR_KEYS = ("target", "as_operator")
#: Symbols as torch numbers them, and the functions its symbolic sizes are made of.
_NAME = re.compile(
    r"^(z?[suf]f?\d+|Mod|Max|Min|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Piecewise|Abs|True|False|oo|int_oo|Symbol"
    r"|(Clean|Python)?(Floor|Ceil|True|Int)?(Div|Mod|ToInt|ToFloat|TrueDiv)|FloorDiv|ModularIndexing|Where"
    r"|ceiling|floor|sqrt|e\d*)$"
)
_EXPRESSION = re.compile(r"^[\w\s+\-*/%(),.<>=!&|~]*$")
_WORD = re.compile(r"[A-Za-z_]\w*")


def what_may_run_code(path: Path) -> str | None:
    """The first member of the archive that could run code, in words; None if there is none.

    Raises zipfile.BadZipFile, KeyError or ValueError for a damaged archive.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            inner = member.split("/", 1)[-1]
            if "aotinductor/" in inner or inner.startswith("executorch/"):
                return f"compiled code ({member})"
            if Path(inner).name.startswith(("custom_obj", "opaque_obj")):
                return f"a pickled Python object ({member})"
            if inner.endswith(".json") and (found := _in_json(json.loads(archive.read(member)))):
                return f"{found} ({member})"
    return None


def _in_json(content: object) -> str | None:
    for key, text in _texts(content):
        if key in _OPERATOR_KEYS and not _OPERATOR.match(text):
            return f"the operator {text!r:.80}"
        if key == "expr_str" and not _is_plain_expression(text):
            return f"the expression {text!r:.80}"
    return None


def _is_plain_expression(text: str) -> bool:
    return _EXPRESSION.match(text) is not None and all(_NAME.match(word) for word in _WORD.findall(text))


def _texts(content: object) -> Iterator[tuple[str, str]]:
    """All pairs of a key and a text, however deep."""
    waiting: list[object] = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
            yield from ((key, value) for key, value in item.items() if isinstance(value, str))
        elif isinstance(item, list):
            waiting += item
