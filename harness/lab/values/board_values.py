"""The values of one virtual board: by friendly names, or by the paths of the files that stand in for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import LabError, UsageError
from harness.farm.inventory import did_you_mean
from harness.lab.boards.board import Board
from harness.lab.boards.kinds import Kind
from harness.lab.values import jetson_settings, raspberry_pi_settings
from harness.lab.values.settings import Setting, WrongValue, replace_values


def settings_of(kind: Kind) -> Mapping[str, Setting]:
    """What boards of that kind have under a name of its own."""
    return raspberry_pi_settings.SETTINGS if kind.vcgencmd else jetson_settings.SETTINGS


@dataclass(frozen=True)
class BoardValues:
    """What a board's sensors, firmware and tools say, to be changed while it runs."""

    board: str
    kind: Kind
    #: The folder whose files the board reads.
    stand_ins: Path

    @classmethod
    def of(cls, board: Board) -> BoardValues:
        """Those of a board of the lab."""
        return cls(board.name, board.kind, board.folder / "stand-ins")

    def checked(self, name: str, value: object) -> object:
        """The value as it will be laid down; raises UsageError for a wrong name or value."""
        if "/" in name:
            return self._checked_file(name, value)
        settings = settings_of(self.kind)
        if name not in settings:
            near = did_you_mean(name, tuple(settings))
            choices = "; ".join(f"{known}: {setting.takes}" for known, setting in settings.items())
            raise UsageError(
                f"{self.board}: a {self.kind.name} has no value {name!r}{near}",
                f"{choices}; or the path of a file below {self.stand_ins}",
            )
        try:
            return settings[name].check(value)
        except WrongValue as error:
            raise UsageError(
                f"{self.board}: {name} = {value!r} {error}", f"{name}: {settings[name].takes}"
            ) from error

    def set(self, name: str, value: object) -> None:
        """Give it another value; the board reads it from now on. Raises UsageError or LabError."""
        laid = self.checked(name, value)
        try:
            if "/" in name:
                replace_values(self.stand_ins, {name: str(laid)})
            else:
                settings_of(self.kind)[name].lay(self.stand_ins, laid)
        except PermissionError as error:
            raise LabError(
                f"{error.filename}: cannot be changed: {error.strerror}",
                'boards belong to root: sudo -E env "PATH=$PATH" bench lab play ...',
            ) from error
        except OSError as error:
            raise LabError(
                f"{self.board}: {name} cannot be changed: {error.filename}: {error.strerror}",
                "bench lab status",
            ) from error

    def _checked_file(self, path: str, value: object) -> str:
        """A file in a folder that the board sees: of one that lies alone it would not see the new one."""
        target = (self.stand_ins / path).resolve()
        if not target.is_relative_to(self.stand_ins.resolve()) or not target.is_file():
            raise UsageError(
                f"{self.board}: there is no file {path!r} below {self.stand_ins}",
                f"find {self.stand_ins} -mindepth 2 -type f",
            )
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise UsageError(
                f"{self.board}: {path} = {value!r} is neither text nor a number",
                "what the file is to say, as text",
            )
        return str(value).rstrip("\n")
