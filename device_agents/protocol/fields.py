"""NamedTuples from plain JSON values and back, every field checked against its annotation."""

from typing import Any, Dict, List, Tuple, Type, TypeVar, Union

#: No time, size or count is beyond this either way: what is counted with them stays finite, and fits int64.
MAX_NUMBER = (1 << 63) - 1

T = TypeVar("T")


class ProtocolError(Exception):
    """The other side said something that is not of this protocol."""


def build(kind: Type[T], body: Dict[str, Any]) -> T:
    """A NamedTuple of `kind` from plain JSON values, every field checked against its annotation."""
    values = {}
    defaults = getattr(kind, "_field_defaults", {})
    for field, annotation in kind.__annotations__.items():
        if field in body:
            values[field] = _checked(annotation, body[field], "{}.{}".format(kind.__name__, field))
        elif field not in defaults:
            raise ProtocolError("{} lacks {!r}".format(kind.__name__, field))
    return kind(**values)


def plain(value: Any) -> Any:
    """NamedTuples as dicts, everything else as it is."""
    if hasattr(value, "_fields"):
        return {field: plain(getattr(value, field)) for field in value._fields}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def _checked(annotation: Any, value: Any, where: str) -> Any:
    """`value` as `annotation` wants it, or ProtocolError. Knows what messages use, no more."""
    origin, arguments = _origin(annotation)
    if origin is Union:
        return None if value is None else _checked(arguments[0], value, where)
    if origin is list:
        if isinstance(value, list):
            return [_checked(arguments[0], item, where) for item in value]
    elif origin is dict:
        if isinstance(value, dict):
            return {_text(str(key)): _checked(arguments[1], item, where) for key, item in value.items()}
    elif hasattr(annotation, "_fields"):
        if isinstance(value, dict):
            return build(annotation, value)
    elif annotation in (int, float):
        if _is_number(annotation, value):
            return annotation(value)
    elif isinstance(value, annotation):
        return _text(value) if annotation is str else value
    raise ProtocolError("{} is {}, not {}".format(where, repr(value)[:80], annotation))


def _text(value: str) -> str:
    """Half a surrogate pair (an undecodable byte of a path under Python 3.6) is text nowhere else."""
    return value.encode("utf-8", "replace").decode("utf-8")


def _is_number(annotation: Any, value: Any) -> bool:
    """Python's JSON has NaN, Infinity and integers beyond any float; no time or size is one of these."""
    kinds = (int, float) if annotation is float else int
    return isinstance(value, kinds) and not isinstance(value, bool) and -MAX_NUMBER <= value <= MAX_NUMBER


def _origin(annotation: Any) -> Tuple[Any, Any]:
    """The generics of typing taken apart; 3.6 says List where later versions say list."""
    origin = getattr(annotation, "__origin__", None)
    if origin is List:
        origin = list
    elif origin is Dict:
        origin = dict
    return origin, getattr(annotation, "__args__", ())
