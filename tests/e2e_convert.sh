#!/bin/sh
# tests/e2e_convert.sh - `spindle convert` from format to format, and its refusals.
#
#   tests/e2e_convert.sh SPINDLE
. "$(dirname "$0")/e2e.sh"

cat >in.jsonl <<'END'
{"id": "0", "terms": [0, 2, 5], "weights": [0.5, 1, 2.25]}
{"id": "1", "terms": [], "weights": []}
{"id": "2", "terms": [70000], "weights": [0.1]}
END

# every way round gives the same lines again
expect 0 "jsonl, 3 vectors; 4 entries" "$spindle" convert in.jsonl a.spv
expect 0 "compact, 3 vectors" "$spindle" convert a.spv b.csr
expect 0 "csr, 3 vectors" "$spindle" convert b.csr c.jsonl --to seismic
expect 0 "seismic, 3 vectors" "$spindle" convert c.jsonl d.jsonl --numeric-tokens
cmp in.jsonl d.jsonl || fail "the vectors came back changed"
"$spindle" convert - - --from compact --to jsonl <a.spv 2>/dev/null | cmp - in.jsonl ||
  fail "a pipe changes the vectors"
expect 0 '"n_vectors": 3' "$spindle" convert a.spv --check --json
expect 0 '"empty": {"n": 1, "record": 2, "id": "1"}' "$spindle" convert a.spv --check --json

# tokens get numbers from a vocabulary, and their spelling back
printf '%s\n' '[UNK]' '[CLS]' '[SEP]' '[PAD]' '[MASK]' cat dog >vocab.txt
echo '{"id": "x", "vector": {"dog": 1.5, "cat": 0.25, "cow": 3}}' >tokens.jsonl
expect 0 "unknown_token" "$spindle" convert tokens.jsonl e.jsonl --tokenizer vocab.txt
grep -q '"terms": \[5, 6\], "weights": \[0.25, 1.5\]' e.jsonl || fail "$(cat e.jsonl)"
expect 0 "" "$spindle" convert e.jsonl f.jsonl --to anserini --tokenizer vocab.txt
grep -q '"vector": {"cat": 25, "dog": 150}' f.jsonl || fail "$(cat f.jsonl)"
expect 0 "" "$spindle" convert tokens.jsonl g.spv --vocabulary words.txt
printf 'dog\ncat\ncow\n' | cmp - words.txt || fail "another vocabulary"

# what is refused leaves no file behind, and says where
printf '%s\n' '{"id": "a", "terms": [1], "weights": [1]}' \
  '{"id": "b", "terms": [1], "weights": [-1]}' >bad.jsonl
expect 1 "line 2 (id 'b'): a weight below 0" "$spindle" convert bad.jsonl bad.spv
[ ! -e bad.spv ] || fail "a half-written file was left"
expect 1 "negative" "$spindle" convert bad.jsonl --check
expect 0 "1 of them left out" "$spindle" convert bad.jsonl bad.spv --skip-refused
head -c 100 a.spv >cut.spv
expect 1 "unfinished" "$spindle" convert cut.spv cut.jsonl
expect 0 "0 vectors" "$spindle" convert cut.spv cut.jsonl --unfinished
expect 1 "missing.spv" "$spindle" convert missing.spv x.jsonl
expect 2 "name does not tell\|expected IN and OUT" "$spindle" convert a.spv
expect 2 "no vector format 'xml'" "$spindle" convert a.spv b.xml --to xml

# the program itself
expect 0 "^spindle [0-9]" "$spindle" version
expect 0 "^spindle [0-9]" "$spindle" --version
expect 2 "takes no arguments" "$spindle" --version now
expect 2 "no subcommand '--verbose'" "$spindle" --verbose
expect 0 "usage: spindle SUBCOMMAND" "$spindle" --help
