#!/bin/sh
# prepare_instance.sh v1 CATEGORY ONNX VNNLIB: is everything there?  Looks at nothing inside the files.
#
# Exit code 0: the instance can be run; anything else: skip it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=${FARKAS_VENV:-$here/venv}

if [ "${1:-}" != v1 ] || [ $# -ne 4 ]; then
    echo "usage: prepare_instance.sh v1 CATEGORY ONNX VNNLIB" >&2
    exit 1
fi
if [ ! -x "$venv/bin/python" ]; then
    echo "prepare_instance.sh: Farkas is not installed; run install_tool.sh v1" >&2
    exit 1
fi
exec "$venv/bin/python" -B "$here/instance.py" prepare "$2" "$3" "$4"
