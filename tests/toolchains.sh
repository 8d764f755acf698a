#!/usr/bin/env bash
# The pinned toolchains that the conversion tests use, made once (about 7 GB); run by the real code.
#
# A toolchain that cannot be made here is left out, and the script says why: its tests are skipped.
set -u

cd "$(dirname "$0")/.." || exit 1
place=${EDGEBENCH_TEST_TOOLCHAINS:-/var/tmp/edgebench-test-toolchains-$(id -u)}
python=.venv/bin/python
[ -x "$python" ] || python=python3

"$python" - "$place" "$@" <<'EOF'
import sys
from pathlib import Path

from convert.errors import ConversionFailed
from convert.processes.toolchain import TOOLCHAINS, prepare_toolchain

place = Path(sys.argv[1])
for name in sys.argv[2:] or TOOLCHAINS:
    try:
        prepare_toolchain(name, place, lambda line: print(line, flush=True))
    except ConversionFailed as error:
        print(f"left out: the tests of the {name} toolchain: {error}", flush=True)
EOF
