#!/bin/sh
# install_tool.sh v1: installs Farkas from this checkout into a virtual environment of its own, vnncomp/venv.
#
# FARKAS_VENV: another place for it; FARKAS_PYTHON: which Python (3.11 or newer).  May be run again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=${FARKAS_VENV:-$here/venv}

if [ "${1:-}" != v1 ]; then
    echo "install_tool.sh: the version is '${1:-}', wanted v1" >&2
    exit 1
fi

new_enough() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

python=
for candidate in ${FARKAS_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "install_tool.sh: no Python of 3.11 or newer; install one, or name it in FARKAS_PYTHON" >&2
    exit 1
fi

if [ ! -x "$venv/bin/python" ] && ! "$python" -m venv "$venv"; then
    echo "install_tool.sh: '$python -m venv' fails; on Debian and Ubuntu: apt-get install python3-venv" >&2
    rm -rf "$venv"
    exit 1
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$here/.."
"$venv/bin/python" -m compileall -q "$("$venv/bin/python" -c 'import farkas, os; print(os.path.dirname(farkas.__file__))')"
"$venv/bin/farkas" --version
