"""What stands in for a board's own tools and libraries where there is no such board; README.md says how far.

No modules of ours: `site` has a package for a board's Python, `cuda` a library's source, the rest commands.
"""

from pathlib import Path

_HERE = Path(__file__).parent

#: On PYTHONPATH it makes `import tensorrt` find the stand-in.
SITE = _HERE / "site"
LIBCUDART = _HERE / "cuda" / "libcudart.c"
#: Commands of a Jetson by their places below its root.
JETSON = _HERE / "jetson"
