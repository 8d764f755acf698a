"""A runtime that does nothing: what it measures is the harness itself."""

from typing import Any, Dict

from device_agents.measurement import Steps
from device_agents.runtimes.base import Engine, Request, Runtime, nothing


class NullEngine(Engine):
    """Takes no inputs and gives no outputs."""

    def steps(self, feed: Dict[str, Any]) -> Steps:
        """Three calls that return at once."""
        return Steps(nothing, nothing, nothing)

    def run(self, feed: Dict[str, Any]) -> Dict[str, Any]:
        """No outputs."""
        return {}


class NullRuntime(Runtime):
    """Always there."""

    name = "null"
    version = "1"

    def start(self) -> None:
        """Nothing to import."""

    def load(self, request: Request) -> Engine:
        """Nothing to load."""
        return NullEngine()

    def prove(self) -> Dict[str, str]:
        """Nothing that could fail."""
        return {}
