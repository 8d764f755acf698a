#!/usr/bin/env bash
# The whole suite on every Python from 3.11 on that is here, each in an environment of its own.
set -u
cd "$(dirname "$0")/.."

failed=0
for version in 3.11 3.12 3.13 3.14; do
  python=
  for found in "python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python3; do
    if "$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
      python=$found
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "left out: Python $version (not here)"
    continue
  fi
  echo "== Python $version"
  make VENV=".test-env/host-$version" PYTHON="$python" setup unit e2e || failed=1
done
exit $failed
