#!/bin/sh
# scripts/test.sh - everything that must pass, from a fresh clone on Debian 12.
#
# Installs the packages; builds with warnings as errors and runs all tests; then the same
# with address and undefined-behaviour checks. Golden tests want a folder of test data
# (SPINDLE_SHARED, default ../shared) and say that they skip where there is none.
set -eu
cd "$(dirname "$0")/.."

scripts/install-packages.sh
jobs=$(nproc)
for preset in release asan; do
  echo "== $preset"
  cmake --preset "$preset" -DSP_WERROR=ON
  cmake --build --preset "$preset" -j "$jobs"
  ctest --preset "$preset" -j "$jobs" -LE gpu
done
