"""`bench`: the commands there are, and the one place where errors become messages and exit codes.

0 every case measured · 1 the gate found a regression · 2 wrong usage or configuration ·
3 at least one case failed · 4 the gate could not decide · 130 interrupted
"""

from __future__ import annotations

import sys

import typer

from harness.commands import console
from harness.commands.device import device_app
from harness.commands.device_check import check, clean
from harness.commands.report import report
from harness.commands.run import EPILOG, run
from harness.commands.verify import verify
from harness.errors import BenchError
from harness.version import harness_version

EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="bench",
    help="Benchmark ML models on edge devices: latency, memory and accuracy you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=EPILOG)(run)
app.command()(report)
app.command()(verify)
device_app.command()(check)
device_app.command()(clean)
app.add_typer(device_app, name="device")


def _show_version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"edgebench {harness_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Options of `bench` itself."""


def main() -> None:
    """Entry point of the `bench` script."""
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(arguments: list[str]) -> int:
    """Run a command line; what a user can mend is told in one message, never as a traceback."""
    try:
        app(arguments)  # typer shows usage errors itself and always ends with SystemExit
    except BenchError as error:
        console.show_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.err.print("interrupted")
        return EXIT_INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
