"""What a failed parse or build failed of, as a word for programs and a sentence for people."""

import os
from typing import Any, List, NamedTuple, Sequence

from device_agents.runtimes.base import BuildFailed
from device_agents.runtimes.tensorrt.log_book import LogBook

_MOST_REASONS = 3

#: Words of the parser's error codes. What it calls unsupported it understood, and cannot do.
_REASON_OF_CODE = (
    ("UNSUPPORTED", "unsupported_operator"),
    ("MEM_ALLOC", "out_of_memory"),
)

#: A missing driver, which TensorRT tells as an error of whatever it does; it matters where nothing else does.
_CUDA_ITSELF = ("catchCudaError", "ScopedCudaStream")

#: An unknown operator is sought among the plugins. The code then differs: UNSUPPORTED_NODE in TensorRT 8,
#: INVALID_NODE in TensorRT-RTX 1.7.
_NO_PLUGIN = "Plugin not found"


class ParserProblem(NamedTuple):
    """One entry of the parser's list; `node` is negative where the file as a whole is meant."""

    code: str
    node: int
    name: str
    operator: str
    text: str

    def __str__(self) -> str:
        """As in: node 5 'conv1' (Conv): unsupported dilation."""
        said = " ".join(self.text.split())
        if self.node < 0:
            return said
        name = " {!r}".format(self.name) if self.name else ""
        operator = " ({})".format(self.operator) if self.operator else ""
        return "node {}{}{}: {}".format(self.node, name, operator, said)


def parser_problems(parser: Any) -> List[ParserProblem]:
    """The parser's list of errors; names of nodes and operators are in it from TensorRT 10 on."""
    return [_problem(parser.get_error(i)) for i in range(parser.num_errors)]


def _problem(error: Any) -> ParserProblem:
    return ParserProblem(
        str(error.code()).rpartition(".")[2],
        int(error.node()),
        str(error.node_name()) if hasattr(error, "node_name") else "",
        str(error.node_operator()) if hasattr(error, "node_operator") else "",
        str(error.desc()),
    )


def not_parsed(version: str, path: str, problems: Sequence[ParserProblem], log: LogBook) -> BuildFailed:
    """The parser refused a model."""
    reason = _reason_of(problems, log)
    named = [_with_operator(problem, log) for problem in problems[:_MOST_REASONS]]
    said = [str(problem) for problem in named] or _worst(log)
    if log.unknown_operators:
        said.insert(0, "it does not know {}".format(", ".join(log.unknown_operators)))
    message = "TensorRT {}: its parser does not take {}: {}"
    return BuildFailed(reason, message.format(version, os.path.basename(path), "; ".join(said)))


def _with_operator(problem: ParserProblem, log: LogBook) -> ParserProblem:
    """Up to TensorRT 8.6 only the log tells which operator a node is."""
    return problem._replace(operator=problem.operator or log.operator_of_node.get(problem.node, ""))


def not_built(version: str, workspace_bytes: int, log: LogBook) -> BuildFailed:
    """The builder made no engine of a parsed model."""
    said = "; ".join(_worst(log))
    if not log.ran_out_of_memory:
        return BuildFailed("build_failed", "TensorRT {} builds no engine: {}".format(version, said))
    skipped = log.skipped_tactics
    more = "; {} tactics did not fit".format(skipped) if skipped else ""
    message = "TensorRT {} ran out of memory with a workspace of {} MiB: {}{}"
    return BuildFailed("out_of_memory", message.format(version, workspace_bytes >> 20, said, more))


def _reason_of(problems: Sequence[ParserProblem], log: LogBook) -> str:
    for problem in problems:
        if _NO_PLUGIN in problem.text:
            return "unsupported_operator"
        for word, reason in _REASON_OF_CODE:
            if word in problem.code:
                return reason
    if log.ran_out_of_memory:
        return "out_of_memory"
    return "unsupported_operator" if log.unknown_operators else "invalid_model"


def _worst(log: LogBook) -> List[str]:
    own = [line for line in log.errors if not any(word in line for word in _CUDA_ITSELF)] or log.errors
    return own[:_MOST_REASONS] or log.warnings[-_MOST_REASONS:] or ["it does not say why"]
