#!/bin/sh
# tests/e2e_inspect.sh - `spindle inspect`: counts, vectors, scores term by term, damage.
#
#   tests/e2e_inspect.sh SPINDLE DEMO_FOLDER
. "$(dirname "$0")/e2e.sh"
demo=$2

# The numbers of all members "$1" in one line of JSON, a line each.
members() {
  grep -o "\"$1\": [-+.e0-9]*" | sed 's/.*: //'
}

# equal A B: two numbers, within the rounding of floats.
equal() {
  awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d <= 1e-5 * b) }'
}

an_index_is_counted() {
  expect 0 '^documents    350, 0 deleted' "$spindle" inspect plain
  expect 0 'every checksum holds' "$spindle" inspect plain --verify
  expect 0 '"verified": true' "$spindle" inspect plain --verify --json
  "$spindle" inspect plain --json >counts
  [ "$(members nnz <counts | sort -u | wc -l)" = 1 ] || fail "one segment, but another nnz"
  # bytes are in vectors, lists, ids and documents, and not more than there are
  for part in vectors lists ids documents; do
    members $part <counts | tail -n 1
  done | awk -v all="$(members bytes <counts | head -n 1)" \
    '$1 > 0 { n++; sum += $1 } END { exit !(n == 4 && sum < all) }' ||
    fail "the bytes do not add up: $(cat counts)"
  # nothing was pruned: each entry of a vector is a posting
  [ "$(members nnz <counts | head -n 1)" = "$(members postings <counts)" ] ||
    fail "not as many postings as entries: $(cat counts)"
  # few postings a term: some are pruned
  "$spindle" index few --corpus "$demo" --n-postings 2 >/dev/null 2>&1
  "$spindle" inspect few --json >pruned
  [ "$(members postings <pruned)" -lt "$(members postings <counts)" ] ||
    fail "--n-postings 2 prunes nothing: $(cat pruned)"
}

a_document_is_shown_strongest_first() {
  expect 0 '^title: Frozen pipes' "$spindle" inspect plain --doc plumbing-4
  expect 0 '"token": "frozen"' "$spindle" inspect plain --doc plumbing-4 --json
  members weight <output | sort -g -r -c || fail "weights do not descend: $(cat output)"
  expect 0 'the 3 strongest shown' "$spindle" inspect plain --doc plumbing-4 --top 3
  [ "$(grep -c '^ *[0-9]*\.[0-9]' output)" = 3 ] || fail "--top 3 shows: $(cat output)"
  expect 1 "no document 'nobody'" "$spindle" inspect plain --doc nobody
}

a_query_is_shown_term_by_term() {
  expect 0 '"token": "frozen"' "$spindle" inspect few --query "frozen zzz pipe" --json
  [ "$(members term <output | wc -l)" = 2 ] || fail "not two known words: $(cat output)"
  # pruning changes what is kept, not what is counted, even where it leaves a term no list
  words="the of a frozen pipe thaw bread yeast water when with"
  "$spindle" inspect plain --query "$words" --json >whole
  "$spindle" inspect few --query "$words" --json >pruned
  members document_frequency <whole >frequencies
  members document_frequency <pruned | cmp -s - frequencies ||
    fail "pruned, terms are in other documents: $(cat pruned)"
  members postings <whole | cmp -s - frequencies || fail "postings went lost: $(cat whole)"
  members max_discarded <whole | grep -q '[1-9]' && fail "something was pruned: $(cat whole)"
  members max_discarded <pruned | grep -q '[1-9]' || fail "nothing was pruned: $(cat pruned)"
  n=$(grep -c -i -w yeast "$demo/corpus.jsonl") # lines are documents
  expect 0 "\"token\": \"yeast\", .*\"document_frequency\": $n," \
    "$spindle" inspect few --query yeast --json
}

# For the first hit of many questions: contributions add up to the search's own score.
sums_are_scores() {
  sed -n 's/.*"text": "\([^"\\]*\)".*/\1/p' "$demo/queries.jsonl" | head -n 25 >questions
  [ "$(wc -l <questions)" = 25 ] || fail "not 25 questions in the demo"
  "$spindle" search "$1" --exact -k 1 --json <questions >hits
  while read -r question <&3 && read -r hit <&4; do
    id=$(echo "$hit" | sed -n 's/.*"results": \[{"id": "\([^"]*\)".*/\1/p')
    [ "$id" ] || continue
    score=$(echo "$hit" | members score)
    "$spindle" inspect "$1" --query "$question" --doc "$id" --json >output
    sum=$(members contribution <output | awk '{ s += $1 } END { printf "%.9g", s }')
    equal "$sum" "$score" || fail "'$question': $id has $score, its terms $sum"
    equal "$(members score <output)" "$score" || fail "'$question': $(cat output)"
    [ "$(members rank <output)" = 1 ] || fail "'$question': not first: $(cat output)"
  done 3<questions 4<hits
}

a_document_that_shares_nothing_has_no_score() {
  expect 0 'shares no term' "$spindle" inspect plain --query thaw --doc night-sky-1
  expect 0 '"rank": null' "$spindle" inspect plain --query thaw --doc night-sky-1 --json
  expect 0 ' pruned ' "$spindle" inspect few --query "a the of" --doc plumbing-4
}

# Two segments, and a document replaced by an append.
segments_are_added_up() {
  cp -r plain grown
  printf '{"_id": "plumbing-4", "text": "A frozen pipe, again."}\n' >more.jsonl
  "$spindle" index grown --corpus more.jsonl --append >/dev/null 2>&1
  expect 0 '^documents    350, 1 deleted' "$spindle" inspect grown --verify
  [ "$(grep -c '^segment ' output)" = 2 ] || fail "not two segments: $(cat output)"
  expect 0 '^text: A frozen pipe, again' "$spindle" inspect grown --doc plumbing-4
  sums_are_scores grown
}

wrong_calls_are_refused() {
  expect 1 'nowhere' "$spindle" inspect nowhere
  expect 2 'wants an index' "$spindle" inspect
  expect 2 'quote a text' "$spindle" inspect plain two
  expect 2 'goes with' "$spindle" inspect plain --verify --doc plumbing-4
  expect 2 'goes with' "$spindle" inspect plain --top 3
  expect 2 'wants a text' "$spindle" inspect --model nowhere
  expect 1 'no such model directory' "$spindle" inspect --model nowhere text
  echo '{"id": "v", "terms": [1, 5], "weights": [0.5, 2]}' >v.jsonl
  "$spindle" index vectors --vectors v.jsonl >/dev/null 2>&1
  expect 0 'none: built from vectors' "$spindle" inspect vectors
  expect 0 '2.0000          5' "$spindle" inspect vectors --doc v
  expect 1 'has no encoder' "$spindle" inspect vectors --query text
}

flip() { # FILE OFFSET
  byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
  printf "\\$(printf %o $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# Wherever a byte is flipped: it is found or refused, or it was one that nothing reads.
a_flipped_byte_is_found() {
  cp -r plain damaged
  at=$(grep -abo plumbing-4 plain/data.mdb | head -n 1 | cut -d : -f 1)
  flip damaged/data.mdb "$at"
  expect 1 'damaged' "$spindle" inspect damaged --verify
  flip damaged/data.mdb "$at"
  expect 0 'every checksum holds' "$spindle" inspect damaged --verify

  head -n 25 questions >asked
  "$spindle" search plain --exact -k 5 --json <asked | sed 's/"took_ms": [.0-9]*//' >sound
  size=$(wc -c <plain/data.mdb)
  found=0
  i=0
  while [ $i -lt 40 ]; do
    at=$((size / 40 * i + 977 * i % 4096))
    flip damaged/data.mdb $at
    got=0
    "$spindle" inspect damaged --verify >output 2>&1 || got=$?
    if [ $got = 1 ]; then
      found=$((found + 1))
      [ "$(wc -l <output)" = 1 ] || fail "byte $at: not one sentence: $(cat output)"
    else
      [ $got = 0 ] || fail "byte $at flipped: ended with $got"
      "$spindle" search damaged --exact -k 5 --json <asked | sed 's/"took_ms": [.0-9]*//' |
        cmp -s - sound || fail "byte $at was flipped unseen, and the answers differ"
    fi
    flip damaged/data.mdb $at
    i=$((i + 1))
  done
  [ $found -ge 10 ] || fail "only $found of 40 flipped bytes were found"
  cmp -s plain/data.mdb damaged/data.mdb || fail "the flips were not undone"
}

models_show_what_they_make_of_a_text() {
  model=$shared/golden/encoders/models/bert-splade-tiny
  if [ ! -d "$model" ]; then
    echo "e2e_inspect: skipped what needs a model: there is no SPINDLE_SHARED with models"
    return
  fi
  cp -r "$model" model
  expect 0 '"side": "document"' "$spindle" inspect --model model "the river" --device cpu --json
  members weight <output | sort -g -r -c || fail "weights do not descend: $(cat output)"
  expect 0 '"side": "query"' "$spindle" inspect --model model --query "the river" --json
  "$spindle" index neural --corpus "$demo" --model model --device cpu >/dev/null 2>&1
  expect 0 'rank [0-9]' "$spindle" inspect neural --query "the river" --doc plumbing-4 --device cpu
  # a model that went away takes the spellings along, no more
  rm -r model
  expect 0 'no spellings' "$spindle" inspect neural --doc plumbing-4
  expect 0 '^documents ' "$spindle" inspect neural
  expect 1 'model' "$spindle" inspect neural --query "the river"
}

"$spindle" index plain --corpus "$demo" >/dev/null 2>&1
an_index_is_counted
a_document_is_shown_strongest_first
a_query_is_shown_term_by_term
sums_are_scores plain
a_document_that_shares_nothing_has_no_score
segments_are_added_up
wrong_calls_are_refused
a_flipped_byte_is_found
models_show_what_they_make_of_a_text
