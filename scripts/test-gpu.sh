#!/usr/bin/env bash
# scripts/test-gpu.sh - everything that must pass on a machine with an NVIDIA GPU.
#
# usage: scripts/test-gpu.sh [BIN [TEST...]]
#
# Builds (or, where BIN is given, takes the programs of that folder) and runs the tests that need
# a GPU, or only those named; then, where there is compute-sanitizer, runs them once more under
# it: all under memcheck, those of single kernels under racecheck and synccheck too. Golden tests
# want a folder of test data (SPINDLE_SHARED, default ../shared) and say that they skip where
# there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${1:-build/gpu/bin}
if [ $# = 0 ]; then
  cmake --preset gpu -DSP_WERROR=ON
  cmake --build --preset gpu -j "$(nproc)"
fi
tests=("${@:2}")
if [ ${#tests[@]} = 0 ]; then
  for path in "$bin"/test_*cuda*; do tests+=("$(basename "$path")"); done
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# check WHAT COMMAND...: one line if all is well, everything that was said if not
check() {
  local what=$1 began=$SECONDS
  shift
  if "$@" >"$log" 2>&1; then
    printf '%-40s passed, %d s\n' "$what" $((SECONDS - began))
    grep -h -e 'skipped' -e 'worst' -e 'ERROR SUMMARY' "$log" | sort | uniq -c || true
  else
    printf '%-40s FAILED, %d s\n' "$what" $((SECONDS - began))
    cat "$log"
    failed=1
  fi
}

for test in "${tests[@]}"; do check "$test" "$bin/$test"; done
if [ $# -lt 2 ]; then
  check "e2e_encode.sh on the GPU" tests/e2e_encode.sh "$(realpath "$bin")/spindle" cuda
fi

if command -v compute-sanitizer >/dev/null; then
  # Calls that fail are the tests' own business: one of them fills the device on purpose.
  sanitizer=(compute-sanitizer --error-exitcode 9 --report-api-errors no)
  for test in "${tests[@]}"; do
    check "$test, memcheck" "${sanitizer[@]}" --tool memcheck "$bin/$test"
    case $test in
      test_cuda_golden | test_cuda_encode) continue ;; # the kernels' tests do it quicker
    esac
    check "$test, racecheck" "${sanitizer[@]}" --tool racecheck "$bin/$test"
    # attention alone has more mbarriers than it keeps track of unasked
    check "$test, synccheck" "${sanitizer[@]}" --tool synccheck --num-cuda-barriers 16384 \
      "$bin/$test"
  done
else
  echo "skipped: there is no compute-sanitizer"
fi
exit $failed
