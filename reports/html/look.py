"""The constant looks: each precision has its colour, each runtime its marker, in every picture of the report.

Colours are names of CSS variables (templates/style.css), so that both colour schemes can have their own.
The hues are Okabe and Ito's (Color Universal Design, 2008), told apart with any colour vision.
"""

from __future__ import annotations

PRECISION_COLOURS = {
    "fp32": "--fp32",
    "fp16": "--fp16",
    "int8": "--int8",
    "int8-dynamic": "--int8-dynamic",
}
OTHER_COLOUR = "--other"

#: Plotly's marker names, and the character that looks like it in text.
RUNTIME_SYMBOLS = {
    "tflite": ("circle", "●"),
    "onnxruntime": ("square", "■"),
    "tensorrt": ("diamond", "◆"),
}
OTHER_SYMBOL = ("triangle-up", "▲")

#: Stages of a worker's life in order, with the words of the memory picture.
MEMORY_STAGES = {
    "started": "interpreter",
    "runtime_imported": "runtime imported",
    "model_loaded": "model loaded",
    "first_inference": "first inference",
    "steady": "steady",
}


def colour(precision: str) -> str:
    """The CSS variable of a precision."""
    return PRECISION_COLOURS.get(precision, OTHER_COLOUR)


def stage_colour(stage: str) -> str:
    """The CSS variable of a memory stage: one hue that darkens with time."""
    return f"--stage-{list(MEMORY_STAGES).index(stage) + 1}"


def marker(runtime: str) -> str:
    """Plotly's marker name of a runtime."""
    return RUNTIME_SYMBOLS.get(runtime, OTHER_SYMBOL)[0]


def glyph(runtime: str) -> str:
    """The character that looks like a runtime's marker."""
    return RUNTIME_SYMBOLS.get(runtime, OTHER_SYMBOL)[1]
