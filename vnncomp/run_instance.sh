#!/bin/sh
# run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS_FILE TIMEOUT: decides one instance.
#
# RESULTS_FILE: first line sat, unsat, unknown, timeout or error; after sat the counterexample.  It is there, whole, from
# the beginning (`timeout`) to the end, whatever happens; nothing else is left behind.  Exit code 0.
set -u

here=$(cd "$(dirname "$0")" && pwd)
venv=${FARKAS_VENV:-$here/venv}

if [ "${1:-}" != v1 ] || [ $# -ne 6 ]; then
    echo "usage: run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS_FILE TIMEOUT" >&2
    exit 1
fi
category=$2 onnx=$3 vnnlib=$4 results=$5 limit=$6
part="$results.part.$$"
trap 'rm -f "$part"' EXIT

say() {
    printf '%s\n' "$1" >"$part" && mv -f "$part" "$results"
}

begun=$(date +%s)
say timeout
timeout --signal=KILL "$limit" \
    "$venv/bin/python" -B "$here/instance.py" run "$category" "$onnx" "$vnnlib" "$part" "$limit"
code=$?
spent=$(($(date +%s) - begun))
if [ "$code" -eq 0 ] && [ -s "$part" ]; then
    mv -f "$part" "$results"
elif [ "$code" -ne 137 ] || [ "$((spent + 2))" -lt "${limit%%.*}" ]; then
    say error # it ended by itself, or was killed for its memory
fi
exit 0
