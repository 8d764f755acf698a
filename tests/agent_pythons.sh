#!/usr/bin/env bash
# Environments of several Pythons with real runtimes, for the agent's end-to-end tests; made once.
#
# They lie outside the checkout, because the tests log in as an ordinary user who may read neither root's
# home (where pyenv lives) nor, perhaps, this folder. An interpreter in such a place is copied first.
# A Python that is not here, or whose packages cannot be had, is left out, and the script says so.
set -u

place=${EDGEBENCH_TEST_PYTHONS:-/var/tmp/edgebench-test-pythons-$(id -u)}
mkdir -p "$place"
chmod 755 "$place"

find_python() {
  local version=$1 found
  for found in "$HOME"/.pyenv/versions/"$version".*/bin/python3 "python$version"; do
    if "$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
      command -v "$found"
      return 0
    fi
  done
  return 1
}

# The newest runtimes that still have packages for each Python.
packages() {
  case $1 in
    3.6) echo "numpy==1.19.5 onnxruntime==1.10.0" ;;
    3.8) echo "numpy==1.24.4 onnxruntime==1.19.2 tflite-runtime==2.14.0" ;;
    *) echo "numpy>=2.1,<3 onnxruntime>=1.23,<2 ai-edge-litert>=2.1,<2.4" ;;
  esac
}

# A Python under root's home, copied to where others may read it; any other as it is.
readable_python() {
  local python=$1 copy=$2 prefix
  prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
  case $prefix in
    "$HOME"/*)
      if [ "$(id -u)" -eq 0 ]; then
        mkdir -p "$copy"
        tar -C "$prefix" --exclude='./lib/python*/test' --exclude='./lib/python*/config-*' --exclude='*.a' \
          --exclude='./lib/python*/site-packages/*' -cf - . | tar -C "$copy" -xf -
        python=$copy/bin/python3
      fi
      ;;
  esac
  echo "$python"
}

make_environment() {
  local version=$1 python=$2 env=$3 pip=pip
  # pip 21.3.1 is the last for Python 3.6, whose bundled one knows no manylinux2014 packages.
  [ "$version" = 3.6 ] && pip="pip==21.3.1"
  export LD_LIBRARY_PATH=$place/base-$version/lib
  "$python" -m venv "$env" || return 1
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "$pip" || return 1
  # shellcheck disable=SC2046
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check $(packages "$version") || return 1
  chmod -R a+rX "$env"
  # A copied interpreter looks for its libpython where it was built.
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s/base-%s/lib exec %s/bin/python "$@"\n' "$place" "$version" "$env" \
    >"$place/python-$version"
  chmod 755 "$place/python-$version"
}

for version in 3.6 3.8 3.11 3.13; do
  env=$place/$version
  [ -e "$env/.complete" ] && continue
  if ! python=$(find_python "$version"); then
    echo "left out: the agent under Python $version with real runtimes (no such Python here)"
    continue
  fi
  rm -rf "$env" "$place/base-$version"
  python=$(readable_python "$python" "$place/base-$version")
  if (make_environment "$version" "$python" "$env") >"$place/$version.log" 2>&1; then
    touch "$env/.complete"
  else
    echo "left out: the agent under Python $version with real runtimes; its packages could not be installed:"
    tail -3 "$place/$version.log"
  fi
done
