"""Reading files of /proc and /sys; unreadable means absent (None)."""

import glob
import os
from typing import Dict, List, Optional


class LinuxFiles:
    """A view of /proc and /sys under `root`, so that a recorded tree can stand in for a board."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def path(self, path: str) -> str:
        """Where `path` lies in this view."""
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path: str) -> Optional[str]:
        """Content of a file, without the NULs and blanks around it."""
        try:
            with open(self.path(path), "rb") as file:
                content: Optional[bytes] = file.read(1 << 16)
        except OSError:  # a gated thermal zone answers EINVAL; that is as good as absent
            return None
        if content is None:  # or EAGAIN, which Python takes for a file that would block
            return None
        return content.replace(b"\0", b" ").decode("utf-8", "replace").strip() or None

    def integer(self, path: str) -> Optional[int]:
        """A file with one number."""
        text = self.text(path)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def matches(self, pattern: str) -> List[str]:
        """Paths of this view that match, sorted."""
        skip = len(self.root.rstrip("/"))
        return sorted(path[skip:] for path in glob.glob(self.path(pattern)))

    def integers(self, pattern: str) -> List[int]:
        """The numbers of all files that match and can be read."""
        values = (self.integer(path) for path in self.matches(pattern))
        return [value for value in values if value is not None]

    def table(self, path: str, separator: str = ":") -> Dict[str, str]:
        """`name: value` lines; of equal names the first counts."""
        fields: Dict[str, str] = {}
        for line in (self.text(path) or "").splitlines():
            name, found, value = line.partition(separator)
            if found:
                fields.setdefault(name.strip(), value.strip().strip('"'))
        return fields
