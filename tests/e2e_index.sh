#!/bin/sh
# tests/e2e_index.sh - `spindle index` on a corpus: what it builds, resumes and refuses.
#
#   tests/e2e_index.sh SPINDLE DEMO_FOLDER
. "$(dirname "$0")/e2e.sh"
demo=$2

# A refused corpus leaves no index behind.
refuse() { # WORDS CORPUS
  expect 1 "$1" "$spindle" index refused --corpus "$2"
  [ ! -e refused/data.mdb ] || fail "$2 left an index behind"
}

bad_corpora_are_refused() {
  refuse 'missing.jsonl' missing.jsonl
  : >empty.jsonl
  refuse 'no document' empty.jsonl
  printf '{"_id": "1", "text": "one"}\n{"_id": "2", "text": \n' >torn.jsonl
  refuse 'torn.jsonl:2' torn.jsonl
  printf '{"_id": "1", "text": "one"}\n{"text": "two"}\n' >nameless.jsonl
  refuse 'nameless.jsonl:2' nameless.jsonl
  expect 1 'no/folder: cannot make' "$spindle" index no/folder --corpus "$demo"
  mkfifo pipe
  { cat "$demo/corpus.jsonl" >pipe & } 2>/dev/null
  expect 1 'cannot be read twice' timeout 60 "$spindle" index refused --corpus pipe
  kill $! 2>/dev/null || true
  expect 2 'not both' "$spindle" index refused
  expect 2 'not both' "$spindle" index refused --corpus a --vectors b
  expect 2 'lexical' "$spindle" index refused --corpus a --encoder dense
}

the_last_of_equal_ids_counts() {
  printf '{"_id": "a", "text": "old heron"}\n{"_id": "b", "text": "pike"}\n' >twice.jsonl
  printf '{"_id": "a", "text": "new stork"}\n' >>twice.jsonl
  expect 0 '"documents": 2, "duplicates": 1' "$spindle" index twice --corpus twice.jsonl --json
  expect 0 'new stork' "$spindle" search twice --json stork
  expect 0 '"results": \[\]' "$spindle" search twice --json heron
  expect 1 'there already' "$spindle" index twice --corpus twice.jsonl
}

blank_lines_and_byte_order_marks_are_passed_over() {
  printf '\357\273\277{"_id": "a", "text": "heron"}\r\n   \r\n\t\n{"_id": "b", "text": "pike"}' >windows.jsonl
  expect 0 'windows: 2 documents' "$spindle" index windows --corpus windows.jsonl
  sed 's/_id/id/' windows.jsonl >windows.texts
  [ "$("$spindle" encode --encoder lexical windows.texts 2>/dev/null | wc -l)" = 2 ] ||
    fail 'encode does not read blank lines and a byte order mark'
}

invalid_utf8_is_replaced() {
  printf '{"_id": "a", "text": "h\377ron pond"}\n' >latin.jsonl
  expect 0 '"repaired": 1' "$spindle" index latin --corpus latin.jsonl --json
  expect 0 'pond' "$spindle" search latin --json pond
}

ten_megabytes_are_one_document() {
  {
    printf '{"_id": "long", "text": "'
    yes 'the pond' | head -n 1200000 | tr '\n' ' '
    printf 'heron"}\n'
  } >long.jsonl
  expect 0 'long: 1 documents' "$spindle" index long --corpus long.jsonl
  "$spindle" search long --json heron >found
  grep -q '"id": "long"' found || fail 'a long document is not found by its last word'
}

# An index of vectors is asked by term numbers: keys that are numbers are those, and keys
# that are tokens would get numbers that nobody knows.
keys_of_vectors_are_term_numbers() {
  printf '{"id": "a", "content": "", "vector": {"2023": 1.5, "7": 2.0}}\n' >keyed.jsonl
  printf '{"id": "b", "content": "", "vector": {"5": 3.0}}\n' >>keyed.jsonl
  printf '{"id": "q", "terms": [2023], "weights": [1.0]}\n' >question.jsonl
  "$spindle" index keyed --vectors keyed.jsonl >/dev/null 2>&1
  expect 0 '"id": "a", "score": 1.5' "$spindle" search keyed --json --vectors question.jsonl
  printf '{"id": "c", "content": "", "vector": {"pipe": 1.0}}\n' >tokens.jsonl
  expect 1 "tokens.jsonl: line 1 (id 'c').*convert --tokenizer" \
    "$spindle" index refused --vectors tokens.jsonl
  [ ! -e refused ] || fail 'vectors of tokens left an index behind'
  expect 1 'convert --tokenizer' "$spindle" index keyed --vectors tokens.jsonl --append
}

sizes_have_no_blank_unit() {
  expect 2 'not BYTES' "$spindle" index refused --corpus "$demo" --memory '128 '
}

# Terms of vectors and of an encoder are not the same: neither is added to the other.
other_vocabularies_are_refused() {
  printf '{"_id": "a", "text": "heron pond"}\n' >words.jsonl
  printf '{"id": "v", "terms": [1, 5], "weights": [1.0, 2.0]}\n' >vectors.jsonl
  "$spindle" index words --corpus words.jsonl >/dev/null 2>&1
  "$spindle" index numbers --vectors vectors.jsonl >/dev/null 2>&1
  expect 1 'came through an encoder' "$spindle" index words --vectors vectors.jsonl --append
  expect 1 'not the one it was built with' \
    "$spindle" index numbers --corpus words.jsonl --append
  expect 0 '"id": "a"' "$spindle" search words --json heron
}

# Adding is no rebuild: statistics and words go on from the index's own.
a_corpus_is_added_to_an_index() {
  head -n 200 "$demo/corpus.jsonl" >first.jsonl
  tail -n +201 "$demo/corpus.jsonl" >second.jsonl
  "$spindle" index grown --corpus first.jsonl >/dev/null 2>&1
  expect 0 '150 documents' "$spindle" index grown --corpus second.jsonl --append
  expect 0 'plumbing-4' "$spindle" search grown "thaw frozen pipe"
  expect 0 'night-sky-1' "$spindle" search grown "find north by the stars"
  expect 1 'k1' "$spindle" index grown --corpus second.jsonl --append --k1 2
}

# The limit is reached: one sentence, and nothing is left.
a_full_map_leaves_nothing() {
  expect 1 'the map is full' "$spindle" index full --corpus "$demo" --max-bytes 1M
  [ ! -e full ] || fail "a full map left $(ls full)"
}

# Killed while it reads: the same command goes on, and the index answers as any other.
a_killed_build_goes_on() {
  i=0
  while [ $i -lt 40 ]; do
    sed "s/\"_id\": \"/&$i-/" "$demo/corpus.jsonl"
    i=$((i + 1))
  done >big.jsonl
  "$spindle" index killed --corpus big.jsonl >/dev/null 2>&1 &
  pid=$!
  while [ ! -s killed/data.mdb ] && kill -0 $pid 2>/dev/null; do :; done
  kill -9 $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  if [ -e killed/build.state ]; then
    expect 1 'killed' "$spindle" search killed pipe
    expect 0 '14000 documents' "$spindle" index killed --corpus big.jsonl
  fi
  expect 0 'plumbing-4' "$spindle" search killed -k 40 "thaw frozen pipe"
}

bad_corpora_are_refused
the_last_of_equal_ids_counts
blank_lines_and_byte_order_marks_are_passed_over
invalid_utf8_is_replaced
ten_megabytes_are_one_document
keys_of_vectors_are_term_numbers
sizes_have_no_blank_unit
other_vocabularies_are_refused
a_corpus_is_added_to_an_index
a_full_map_leaves_nothing
a_killed_build_goes_on
