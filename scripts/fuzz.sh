#!/bin/sh
# scripts/fuzz.sh - feeds mutated files to every parser under sanitizers, for a while.
#
#   scripts/fuzz.sh [SECONDS [TARGET...]]
#
# SECONDS (300) for each TARGET (tests/fuzz_TARGET.c; all), one after the other. Needs clang.
# What a run learns stays in build/fuzz/corpus/TARGET, so the next goes on from there. An input
# that crashes, leaks, takes 10 s or asks for 64 MiB at once is kept as
# build/fuzz/found/TARGET-... and makes the status 1. It goes to tests/seeds/TARGET once its
# cause is mended: every run of the tests then reads it.
set -eu
cd "$(dirname "$0")/.."
command -v clang >/dev/null || {
  echo "fuzz: needs clang" >&2
  exit 1
}
seconds=${1:-300}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(cd tests/seeds && ls -d */ | tr -d /)

cmake --preset fuzz >/dev/null
for target; do
  cmake --build --preset fuzz --target "fuzz_$target" -j "$(nproc)" >/dev/null
done

status=0
mkdir -p build/fuzz/found
for target; do
  corpus=build/fuzz/corpus/$target log=build/fuzz/$target.log
  mkdir -p "$corpus"
  result=clean
  build/fuzz/bin/"fuzz_$target" "$corpus" "tests/seeds/$target" \
    -max_total_time="$seconds" -max_len=5000 -entropic=0 -dict=tests/seeds/json.dict \
    -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=64 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/found/$target-" >"$log" 2>&1 || result="see $log"
  [ "$result" = clean ] || status=1
  awk -v target="$target" -v result="$result" '
    /^stat::number_of_executed_units/ { runs = $2 }
    /^stat::average_exec_per_sec/ { speed = $2 }
    END { printf "%-16s %10d executions, %6d/s, %s\n", target, runs, speed, result }' "$log"
done
exit $status
