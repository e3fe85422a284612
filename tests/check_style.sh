#!/bin/sh
# tests/check_style.sh - every source opens with its path, fits 800 lines and is formatted.
#
# The formatting is held to clang-format 14, Debian 12's; other versions format otherwise,
# and without it that part is skipped.
set -eu
cd "$(dirname "$0")/.."
rooms="base kernels index encoder query server tools tests"
faults=$(
  find $rooms -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | sort |
    while read -r file; do
      case $(head -n 1 "$file") in
      "/* $file - "* | "// $file - "*) ;;
      *) echo "$file:1: does not open with \"/* $file - what it is for\"" ;;
      esac
      lines=$(wc -l <"$file")
      [ "$lines" -le 800 ] || echo "$file: has $lines lines, more than 800"
    done
  find scripts tests .ci -name '*.sh' -o -path .ci/run | sort |
    while read -r file; do
      case $(sed -n 2p "$file") in
      "# $file - "*) ;;
      *) echo "$file:2: does not open with \"# $file - what it is for\"" ;;
      esac
      [ -x "$file" ] || echo "$file: is not executable"
    done
)
if [ -n "$faults" ]; then
  echo "$faults"
  exit 1
fi

case $(clang-format --version 2>/dev/null) in
*"version 14."*)
  find $rooms -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' |
    xargs clang-format --dry-run -Werror
  ;;
*) echo "check_style: no clang-format 14 here: formatting is not checked" ;;
esac
