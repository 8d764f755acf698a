"""`bench`: the commands there are, and the one place where errors become messages and exit codes.

0 everything measured or made · 1 the gate found a regression · 2 wrong usage or configuration ·
3 at least one failed · 4 the gate could not decide · 130 interrupted
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from harness.commands import console
from harness.errors import BenchError
from harness.version import harness_version

EXIT_INTERRUPTED = 130


def _add_run(app: typer.Typer) -> None:
    from harness.commands.run import EPILOG, run

    app.command(epilog=EPILOG)(run)


def _add_convert(app: typer.Typer) -> None:
    from harness.commands.convert import EPILOG, convert

    app.command(epilog=EPILOG)(convert)


def _add_inspect(app: typer.Typer) -> None:
    from harness.commands.inspect import EPILOG, inspect

    app.command(epilog=EPILOG)(inspect)


def _add_device(app: typer.Typer) -> None:
    from harness.commands.device import device_app
    from harness.commands.device_check import check, clean
    from harness.commands.device_release import release
    from harness.commands.device_setup import setup

    whole = typer.Typer(no_args_is_help=True, help=device_app.info.help)
    whole.registered_commands = list(device_app.registered_commands)
    whole.command()(check)
    whole.command()(setup)
    whole.command()(clean)
    whole.command()(release)
    app.add_typer(whole, name="device")


def _add_report(app: typer.Typer) -> None:
    from harness.commands.report import report

    app.command()(report)


def _add_verify(app: typer.Typer) -> None:
    from harness.commands.verify import verify

    app.command()(verify)


def _add_lab(app: typer.Typer) -> None:
    from harness.commands.lab import lab_app

    app.add_typer(lab_app, name="lab")


#: What each command imports takes up to a second; only the one that is asked for is imported.
_COMMANDS: dict[str, Callable[[typer.Typer], None]] = {
    "run": _add_run,
    "convert": _add_convert,
    "inspect": _add_inspect,
    "device": _add_device,
    "report": _add_report,
    "verify": _add_verify,
    "lab": _add_lab,
}


def _show_version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"edgebench {harness_version()}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Options of `bench` itself."""


def _app(word: str | None) -> typer.Typer:
    """`bench` with the command of that name, or with all of them where it is none."""
    app = typer.Typer(
        name="bench",
        help="Benchmark ML models on edge devices: latency, memory and accuracy you can trust.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, add in _COMMANDS.items():
        if word not in _COMMANDS or name == word:
            add(app)
    return app


def main() -> None:
    """Entry point of the `bench` script."""
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(arguments: list[str]) -> int:
    """Run a command line; what a user can mend is told in one message, never as a traceback."""
    try:
        _app(arguments[0] if arguments else None)(
            arguments
        )  # typer shows usage errors itself and always ends with SystemExit
    except BenchError as error:
        console.show_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.err.print("interrupted")
        return EXIT_INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
