#!/bin/sh
# tests/check_includes.sh - a room includes only the rooms that it may know.
#
#   tests/check_includes.sh [ROOT]
#
# Checks the tree at ROOT (default: this one), then plants forbidden includes in a copy and
# expects each to be found: a check that cannot fail checks nothing.
set -eu
root=${1:-$(dirname "$0")/..}
cd "$root"
rooms="base kernels index encoder query server tools"

# What room $1 may include besides itself.
allowed() {
  case $1 in
  tools) echo server query index encoder base ;;
  server) echo query index encoder base ;;
  query) echo index kernels base ;;
  encoder) echo kernels base ;;
  index) echo kernels base ;;
  kernels) echo base ;;
  base) ;;
  esac
}

# "FILE:LINE: SENTENCE" for each forbidden include below folder $1; nothing when all is well.
check() {
  (
    cd "$1"
    for room in $rooms; do
      find "$room" -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' |
        xargs -r grep -nH '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' |
        sed 's/^\([^:]*:[0-9]*\):[^"]*"\([^"]*\)".*/\1 \2/' |
        while read -r place included; do
          target=${included%%/*}
          case $place in # benchmarks of kernels call kernels
          tools/*bench*) extra=kernels ;;
          *) extra= ;;
          esac
          case " $room $(allowed "$room") $extra " in
          *" $target "*) ;;
          *) echo "$place: $room may not include \"$included\"" ;;
          esac
        done
    done
  )
}

found=$(check .)
if [ -n "$found" ]; then
  echo "$found"
  exit 1
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
for room in $rooms; do mkdir "$copy/$room"; done
mkdir "$copy/kernels/cuda"
plant() { # FILE INCLUDED
  echo "#include \"$2\"" >"$copy/$1"
  case $(check "$copy") in
  "$1:1: "*) ;;
  *)
    echo "check_includes: a planted $2 in $1 was not found"
    exit 1
    ;;
  esac
  rm "$copy/$1"
}
plant query/planted.c encoder/encoder.h
plant encoder/planted.h query/search.h
plant encoder/planted.c index/index.h
plant index/planted.c query/search.h
plant kernels/cuda/planted.cu index/segment.h
plant base/planted.c kernels/kernels.h
plant server/planted.c tools/cmd.h
plant tools/cmd_planted.c kernels/kernels.h
plant query/planted.c search.h
plant query/planted.c ../encoder/encoder.h
