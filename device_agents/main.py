"""Entry of the agent: claims standard output, then hands over to the command that was asked for.

Each command is one process, started by the controller over SSH, that answers in JSON lines:

    probe [RUNTIME,...]    what board this is and which runtimes really work
    examine                what a board's setup is judged by: Python, packages, rights, storage, clock, power
    put SHA256 BYTES       take a file (standard input), resuming where an earlier try stopped
    get JOB OFFSET NAME... give result files of a job
    submit                 take a job (one line on standard input) and run it detached
    follow JOB OFFSET      the job's journal from a byte offset, until the job ends
    cancel JOB             end a job
    lease WORDS WAIT_S     take the board for a run, or wait for it; WORDS say whose it is
    renew                  show that the run still wants it
    release                give it back
    evict                  end somebody else's lease
    restore                put clocks and power back that an agent which died left raised
    clean                  remove everything that no running job needs

Before the command `--workspace DIR` names the folder and `--lease ID` the run that it is part of.
`supervise`, `build`, `worker`, `cross-check`, `guard` and `prove` are started by the agent itself.
"""

import os
import sys
from typing import List


def claim_stdout() -> int:
    """A private copy of standard output; what else writes to fd 1 from now on lands in standard error.

    Runtimes print banners from native code, so this has to happen before any of them is imported.
    """
    claimed = os.dup(1)
    os.dup2(2, 1)
    return claimed


def main(arguments: List[str]) -> int:
    """Run one command; returns the exit status."""
    claimed = claim_stdout()
    # Everything on the board belongs to its user alone.
    os.umask(0o077)
    from device_agents import commands

    return commands.run(arguments, claimed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
