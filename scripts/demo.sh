#!/bin/sh
# scripts/demo.sh - from a fresh clone on Debian 12 to an answered question.
#
#   scripts/demo.sh [FOLDER]
#
# Installs the packages, builds the program, indexes data/demo into FOLDER/demo (default: a
# new temporary folder) and asks it something.
set -eu
cd "$(dirname "$0")/.."

scripts/install-packages.sh
echo "Building ..."
mkdir -p build
cmake --preset release >build/demo.log 2>&1 &&
  cmake --build --preset release --target spindle -j "$(nproc)" >>build/demo.log 2>&1 || {
  tail -n 30 build/demo.log >&2
  echo "demo: the build failed; build/demo.log has all of it" >&2
  exit 1
}

folder=${1:-$(mktemp -d)}
index=$folder/demo
spindle=build/release/bin/spindle
mkdir -p "$folder"
if [ -e "$index" ]; then
  echo "$index is there already: asking it."
else
  "$spindle" index "$index" --corpus data/demo
fi

question="how do I thaw a frozen pipe"
echo
echo "\$ $spindle search $index -k 3 \"$question\""
"$spindle" search "$index" -k 3 "$question"

cat <<END

That was BM25, which needs no model. Next:
  ask more (questions from standard input):    $spindle search $index
  measure the answers:                         $spindle eval $index --beir data/demo
  answer over HTTP, on 127.0.0.1:7700:         $spindle serve $index
  all there is:                                $spindle --help
END
