"""Text that came from a device or a file, made harmless to show."""

from __future__ import annotations

import unicodedata

#: Longest text shown; a converter's log can have megabytes.
MAX_LENGTH = 2000

#: Letters that change the direction of what follows, so that shown text differs from real text
#: (Unicode TR 36, "bidirectional text spoofing"), and line separators that are no control characters.
_STEERING = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff"
)


def plain(text: str, limit: int = MAX_LENGTH) -> str:
    """The text in one line without control, direction and half characters, cut at `limit` with an ellipsis.

    White space of any kind becomes one blank; terminal escape sequences lose their escape character.
    """
    shown = "".join(" " if letter in "\t\n\r\v\f" else letter for letter in text if _is_shown(letter))
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _is_shown(letter: str) -> bool:
    # Cc: control, Cs: half a surrogate pair, which no encoding can write.
    return letter in "\t\n\r\v\f" or not (letter in _STEERING or unicodedata.category(letter) in ("Cc", "Cs"))
