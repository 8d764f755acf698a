"""What TensorRT says while it works: builds and loads fail with None, and only the log holds the reason."""

import re
from typing import Dict, List

_MOST_LINES = 40
_LONGEST_LINE = 1000

#: One tactic left out. TensorRT 8 spells it "insuficient". The line "Tactic Device request: 538MB Available:
#: 166MB. Device memory is insufficient to use tactic." comes with it or, in some releases, in its place.
_SKIPPED = re.compile(
    r"Skipping tactic .*(?:insuff?icient memory|out of memory|OutOfMemory|cudaErrorMemoryAllocation)", re.I
)
_TACTIC_TOO_LARGE = re.compile(r"insufficient to use tactic", re.I)

#: TensorRT 8.0 to 11 and CUDA in its lines.
_LACK_OF_MEMORY = re.compile(
    r"out ?of ?memory|insuff?icient (?:device |gpu )?memory|memory is insufficient|insufficient workspace|"
    r"bad_alloc|could not be allocated|unable to allocate|failed to allocate|cudaErrorMemoryAllocation|"
    r"MEM_ALLOC_FAILED",
    re.I,
)

#: A layer nobody could run: often for lack of memory, which then was said in warnings.
_NO_IMPLEMENTATION = "Could not find any implementation for node"

#: What the parsers up to TensorRT 8.6 say only here; their errors name no operator.
_NO_IMPORTER = re.compile(r"No importer registered for op: ?(\w+)|could not find plugin:? ?(\w+)", re.I)
#: 'While parsing node number 11 [ReduceMean -> "scores"]:' (8.0 on).
_AT_NODE = re.compile(r"While parsing node number (\d+) \[(\w+) ->")
#: A plugin that took the operator over after all.
_PLUGIN_MADE = re.compile(r"Successfully created plugin:? ?(\w+)", re.I)

#: "[MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 4 MiB, GPU 132 MiB" (8.5 on).
_PEAK = re.compile(r"\[MemUsageStats\] Peak memory .*GPU:? (\d+) MiB")
#: "[MemUsageChange] Init cuBLAS: CPU +158, GPU +154, now: CPU 404, GPU 1918 (MiB)" (8.0 on).
_CHANGE = re.compile(r"\[MemUsageChange\] .*GPU [+-]\d+, now: CPU \d+, GPU (\d+) \(MiB\)")


class LogBook:
    """The lines that matter, bounded: a build of minutes writes tens of thousands."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: something new begins."""
        self.errors: List[str] = []
        self.warnings: List[str] = []
        #: Operators nobody knows.
        self.unknown_operators: List[str] = []
        #: The operator of each node the parser stumbled over.
        self.operator_of_node: Dict[int, str] = {}
        self._any_lack = False
        self._skipped = 0
        self._too_large = 0
        self._peak_gpu_mib = 0
        self._first_gpu_mib = -1
        self._most_gpu_mib = -1

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether what failed failed for lack of memory."""
        if any(_LACK_OF_MEMORY.search(line) for line in self.errors):
            return True
        return self._any_lack and any(_NO_IMPLEMENTATION in line for line in self.errors)

    @property
    def skipped_tactics(self) -> int:
        """Ways to run a layer that were left out for lack of memory."""
        return max(self._skipped, self._too_large)

    def on_error(self, text: str) -> None:
        """A line of severity ERROR or INTERNAL_ERROR."""
        at_node = _AT_NODE.search(text)
        if at_node:
            self.operator_of_node[int(at_node.group(1))] = at_node.group(2)
        self._keep(self.errors, text)
        self._look(text)

    def on_warning(self, text: str) -> None:
        """A line of severity WARNING."""
        if _SKIPPED.search(text):
            self._skipped += 1
        elif _TACTIC_TOO_LARGE.search(text):
            self._too_large += 1
        else:
            self._keep(self.warnings, text)
        self._look(text)

    def on_info(self, text: str) -> None:
        """A line of severity INFO."""
        self._look_for_operators(text)
        peak, change = _PEAK.search(text), _CHANGE.search(text)
        if peak:
            self._peak_gpu_mib = max(self._peak_gpu_mib, int(peak.group(1)))
        if change:
            now = int(change.group(1))
            self._first_gpu_mib = now if self._first_gpu_mib < 0 else self._first_gpu_mib
            self._most_gpu_mib = max(self._most_gpu_mib, now)

    def memory(self) -> Dict[str, str]:
        """GPU memory by TensorRT's own lines, MiB: its allocators' peak, and how much more was in use."""
        found = {}
        if self._peak_gpu_mib:
            found["builder_gpu_mib"] = str(self._peak_gpu_mib)
        if self._most_gpu_mib > self._first_gpu_mib:
            found["gpu_growth_mib"] = str(self._most_gpu_mib - self._first_gpu_mib)
        return found

    def _look(self, text: str) -> None:
        if _LACK_OF_MEMORY.search(text):
            self._any_lack = True
        self._look_for_operators(text)

    def _look_for_operators(self, text: str) -> None:
        missing, made = _NO_IMPORTER.search(text), _PLUGIN_MADE.search(text)
        if missing:
            operator = missing.group(1) or missing.group(2)
            if operator not in self.unknown_operators:
                self.unknown_operators.append(operator)
        if made and made.group(1) in self.unknown_operators:
            self.unknown_operators.remove(made.group(1))

    @staticmethod
    def _keep(lines: List[str], text: str) -> None:
        line = " ".join(text.split())[:_LONGEST_LINE]
        if len(lines) < _MOST_LINES and line not in lines:
            lines.append(line)
