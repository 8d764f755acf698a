"""How this agent starts itself, from its archive or from a checkout."""

import os
import sys
from typing import List


def agent_command(*arguments: str) -> List[str]:
    """The command line of another process of this very agent."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # Run from its archive, or from what that unpacked beside itself (link/agent_archive.py).
    for archive in (home, home + ".pyz"):
        if os.path.isfile(archive):
            return [sys.executable, archive] + list(arguments)
    code = (
        f"import sys; sys.path.insert(0, {home!r}); "
        "from device_agents.main import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code] + list(arguments)
