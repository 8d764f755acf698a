"""Everything that can go wrong, as one tree. What a class says is what the caller can do about it.

    BenchError
    ├── UsageError              the command line is wrong                                      exit 2
    ├── ConfigurationError      a TOML file or a plan is wrong; carries every fault            exit 2
    ├── StoreError              the result database cannot be used                             exit 2
    ├── LabError                virtual boards cannot be had, or not be removed, here          exit 2
    └── CaseError               a case cannot be measured; the others go on                    exit 3
        ├── ConversionFailed    no artifact (class conversion)
        ├── ModelError          the model file itself (class model)
        ├── DeviceError         the board or the way to it (class infrastructure)
        │   ├── LinkError       the connection; trying again may help
        │   │   ├── Unreachable     no connection
        │   │   ├── LinkLost        it broke
        │   │   └── LinkTimeout     nothing came in time
        │   ├── AccessDenied    the key was not accepted
        │   ├── HostKeyMismatch the board's key is not the pinned one
        │   ├── HostKeyUnknown  no key is pinned
        │   ├── AgentError      the agent could not start or answered nonsense
        │   │   └── BadResult       what it left of a job cannot be true
        │   ├── BoardFull       no space for what has to be sent
        │   └── BoardBusy       another run has the board
        │       └── LeaseLost   it got it while this one showed no sign of life
        ├── RuntimeUnavailable  the runtime is not on the board (class runtime)
        └── PrecisionUnsupported the board has no such precision (class runtime); recorded as `unsupported`

Foreign exceptions (paramiko, sqlalchemy, cattrs, the leaves' own) are translated where they enter, with
`raise ... from`. Every message names the thing, the value found and, as `remedy`, what to do.
"""

from __future__ import annotations

import re


def reason_word(said: str, otherwise: str) -> str:
    """A reason that a board gives, if it is one word as reasons are: scripts and tables read it."""
    return said if re.fullmatch("[a-z][a-z0-9_]{0,39}", said) else otherwise


class BenchError(Exception):
    """Any failure edgebench expects. `exit_code` is what `bench` ends with if nobody handles it."""

    exit_code = 2

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(BenchError):
    """The command line is wrong."""


class ConfigurationError(BenchError):
    """A configuration file is wrong; `faults` names each with its file and line or field."""

    def __init__(self, faults: list[str], remedy: str | None = None) -> None:
        super().__init__("\n".join(faults), remedy)
        self.faults = faults


class StoreError(BenchError):
    """The result database cannot be used."""


class LabError(BenchError):
    """Virtual boards cannot be had, or not be removed, on this machine."""


class CaseError(BenchError):
    """A case cannot be measured. `failure_class` and `reason` go into its record."""

    exit_code = 3
    failure_class = "infrastructure"
    reason = "failed"

    def __init__(self, message: str, remedy: str | None = None, reason: str | None = None) -> None:
        super().__init__(message, remedy)
        self.reason = reason or type(self).reason


class ConversionFailed(CaseError):
    """No artifact for this runtime and precision."""

    failure_class = "conversion"
    reason = "conversion_failed"


class ModelError(CaseError):
    """The model file itself cannot be used."""

    failure_class = "model"
    reason = "invalid_model"


class RuntimeUnavailable(CaseError):
    """The runtime does not work on the board."""

    failure_class = "runtime"
    reason = "runtime_unavailable"


class PrecisionUnsupported(CaseError):
    """The board's hardware or runtime has no such precision, so there is nothing to measure."""

    failure_class = "runtime"
    reason = "precision_unsupported"


class DeviceError(CaseError):
    """The board or the way to it."""

    reason = "device_error"


class LinkError(DeviceError):
    """The connection; trying again may help."""

    reason = "link_error"


class Unreachable(LinkError):
    """No connection could be made."""

    reason = "unreachable"


class LinkLost(LinkError):
    """The connection broke."""

    reason = "link_lost"


class LinkTimeout(LinkError):
    """Nothing came within the deadline."""

    reason = "link_timeout"


class AccessDenied(DeviceError):
    """The board accepted none of our keys."""

    reason = "access_denied"


class HostKeyMismatch(DeviceError):
    """The board shows another host key than the pinned one."""

    reason = "host_key_changed"


class HostKeyUnknown(DeviceError):
    """No host key is pinned for this board."""

    reason = "host_key_unknown"


class AgentError(DeviceError):
    """The agent could not start, or said something that is not of the protocol."""

    reason = "agent_error"


class BadResult(AgentError):
    """A result file that cannot be what a job of ours has left."""

    def __init__(self, message: str) -> None:
        remedy = (
            "its agent was changed, or its disk damages files: remove the agent's folder there, and run again"
        )
        super().__init__(message, remedy, "bad_result")


class BoardFull(DeviceError):
    """The board has no space for what has to be sent."""

    reason = "disk_full"


class BoardBusy(DeviceError):
    """Another run has the board."""

    reason = "board_busy"


class LeaseLost(BoardBusy):
    """The run no longer has the board that it had; it may wait for it again."""
