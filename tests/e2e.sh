#!/bin/sh
# tests/e2e.sh - what the end-to-end tests begin with: a folder of their own, expectations.
#
#   . "$(dirname "$0")/e2e.sh"
#
# The test's first argument is the program. Sets $spindle; $shared, the folder of test data
# (empty: none); $dir, the working folder, which is removed at the end.
set -eu
test_name=$(basename "$0" .sh)
spindle=$1
shared=$(cd "${SPINDLE_SHARED:-../shared}" 2>/dev/null && pwd) || shared=
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
  echo "$test_name: $*" >&2
  exit 1
}

# expect STATUS WORDS COMMAND...: runs it, and finds WORDS in what it prints.
expect() {
  status=$1 words=$2
  shift 2
  got=0
  "$@" >output 2>&1 || got=$?
  [ "$got" = "$status" ] || fail "'$*' ended with $got, expected $status: $(cat output)"
  grep -q -e "$words" output || fail "'$*' does not say '$words': $(cat output)"
}
