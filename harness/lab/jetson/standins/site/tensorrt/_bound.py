"""Classes that behave as pybind11's do, and the cutting of them to the shape of one generation."""


class MustCallInit(type):
    """Metaclass: as with pybind11, a subclass that does not call __init__ of its base cannot be made."""

    def __call__(cls, *arguments, **options):
        made = super().__call__(*arguments, **options)
        if not getattr(made, "_constructed", False):
            base = next(owner for owner in cls.__mro__ if owner.__module__.startswith("tensorrt"))
            raise TypeError(
                f"tensorrt.tensorrt.{base.__name__}.__init__() must be called when overriding __init__"
            )
        return made


class Bound:
    """An object of the library: no attribute can be made up on it, as pybind11 forbids."""

    def __setattr__(self, name, value):
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(
                f"'tensorrt.tensorrt.{type(self).__name__}' object has no attribute '{name}'"
            )
        object.__setattr__(self, name, value)


class Enumeration:
    """A member of an enumeration; not an int, as with pybind11, but int() takes it."""

    def __init__(self, name, value):
        self.name = name
        self.value = value

    def __int__(self):
        return self.value

    def __eq__(self, other):
        return type(other) is type(self) and other.value == self.value

    def __hash__(self):
        return hash(self.value)

    def __lt__(self, other):
        return self.value < int(other)

    def __le__(self, other):
        return self.value <= int(other)

    def __gt__(self, other):
        return self.value > int(other)

    def __ge__(self, other):
        return self.value >= int(other)

    def __repr__(self):
        return f"<{type(self).__name__}.{self.name}: {self.value}>"

    def __str__(self):
        return f"{type(self).__name__}.{self.name}"


def enumeration(name, members):
    """An enumeration's class; of two members with one value the second is another name of the first."""
    made = type(name, (Enumeration,), {"__members__": {}})
    by_value = {}
    for word, value in members.items():
        member = by_value.setdefault(value, None) or made(word, value)
        by_value[value] = member
        made.__members__[word] = member
        setattr(made, word, member)
    return made


def attribute(name, default, kind=None):
    """A property that holds a value; of another type than `kind` it takes none."""
    hidden = "_" + name

    def get(self):
        return getattr(self, hidden, default)

    def put(self, value):
        if kind is not None:
            expect(value, kind, name)
        setattr(self, hidden, value)

    return property(get, put)


def expect(value, kind, what):
    """A TypeError in pybind11's words where an argument is of another type."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{what}(): incompatible function arguments. The following argument types are supported:\n"
            f"    1. {what}({getattr(kind, '__name__', kind)})\n\nInvoked with: {value!r}"
        )


def cut(owner, name, offered):
    """Take from a class what a generation does not offer, and add what the stand-in cannot do but it has."""
    for base in owner.__mro__:
        if not base.__module__.startswith("tensorrt"):
            continue
        for word in [word for word in vars(base) if _counts(word) and word not in offered]:
            delattr(base, word)
    for word, kind in offered.items():
        if _counts(word) and not hasattr(owner, word):
            setattr(owner, word, _absent(name, word, kind))


def _counts(word):
    special = ("__len__", "__getitem__", "__setitem__", "__bool__", "__enter__", "__exit__")
    return not word.startswith("_") or word in special


def _absent(owner, word, kind):
    def refuse(*_arguments, **_options):
        raise NotImplementedError(f"TensorRT has {owner}.{word}; the stand-in does not do it")

    if isinstance(kind, str) and "property" in kind:
        return property(refuse, refuse)
    refuse.__name__ = word
    return refuse
