#!/bin/sh
# tests/e2e_bench.sh - `spindle bench` on made-up vectors: its figures, files, refusals.
#
#   tests/e2e_bench.sh SPINDLE
. "$(dirname "$0")/e2e.sh"

# N vectors of up to 12 of 300 terms, low terms more often; the same for the same SEED.
vectors() { # N SEED
  awk -v n="$1" -v seed="$2" 'BEGIN {
    srand(seed)
    for (i = 0; i < n; i++) {
      split("", w)
      for (j = 0; j < 12; j++) w[int(300 * rand() * rand())] = 1 + int(8 * rand())
      terms = weights = ""
      for (t = 0; t < 300; t++)
        if (t in w) {
          terms = terms (terms == "" ? "" : ", ") t
          weights = weights (weights == "" ? "" : ", ") w[t] / 4
        }
      printf "{\"id\": \"%d\", \"terms\": [%s], \"weights\": [%s]}\n", i, terms, weights
    }
  }'
}
vectors 2000 1 >docs.jsonl
vectors 60 2 >queries.jsonl

TMPDIR=$dir "$spindle" bench docs.jsonl --queries queries.jsonl --n-queries 50 --passes 1 \
  --n-postings 100000 --query-cut 0 3 --heap-factor 0 0.9 --json out.json --svg out.svg >table
grep -q '^documents  *2000, ' table || fail "no count of documents: $(cat table)"
grep -q '^opened in  *[0-9.]* ms' table || fail "not how long opening took: $(cat table)"
grep -q '^queries  *50, ' table || fail "no sample of 50 queries: $(cat table)"
# nothing pruned finds everything; a table row is "cut factor recall ..."
awk '$1 == "0" && $2 == "0" && $3 == "1.0000" { found = 1 } END { exit !found }' table ||
  fail "unpruned search has not recall 1: $(cat table)"
awk '$1 == "3" && $2 == "0.9" && $3 < 1 { found = 1 } END { exit !found }' table ||
  fail "pruned search is as good as unpruned: $(cat table)"
[ "$(grep -c '"query_cut": ' out.json)" = 4 ] || fail "out.json has not 4 points"
grep -q '"open_s": [0-9]' out.json || fail "out.json has no time of opening"
grep -q '"n_docs": 2000, "n_queries": 50' out.json || fail "out.json lacks the counts"
case $(head -c 4 out.svg)$(tail -c 7 out.svg) in
"<svg</svg>"*) ;;
*) fail "out.svg is no whole SVG" ;;
esac
[ -z "$(find . -name 'spindle-bench-*')" ] || fail "the temporary index is still there"

# an index that is kept gives the same recall
"$spindle" bench docs.jsonl --queries queries.jsonl --index kept --passes 1 \
  --query-cut 3 --heap-factor 0.9 --json one.json >/dev/null
"$spindle" bench kept --queries queries.jsonl --passes 1 --query-cut 3 --heap-factor 0.9 \
  --json two.json >/dev/null
recall() { sed -n 's/.*"recall": \([0-9.]*\).*/\1/p' "$1"; }
[ "$(recall one.json)" = "$(recall two.json)" ] || fail "an opened index answers otherwise"

expect 2 "wants --queries" "$spindle" bench kept
expect 2 "wants one index" "$spindle" bench --queries queries.jsonl
expect 2 "query-cut takes" "$spindle" bench kept --queries queries.jsonl --query-cut x
expect 2 "heap-factor takes" "$spindle" bench kept --queries queries.jsonl --heap-factor nan
expect 1 "missing.jsonl" "$spindle" bench missing.jsonl --queries queries.jsonl
expect 1 "missing.jsonl" "$spindle" bench kept --queries missing.jsonl
expect 1 "processor" "$spindle" bench kept --queries queries.jsonl --core 4000
echo '{"id": "0", "terms": [70000], "weights": [1]}' >alien.jsonl
expect 0 "recall@10" "$spindle" bench kept --queries alien.jsonl --passes 1
: >empty.jsonl
expect 1 "no vectors" "$spindle" bench kept --queries empty.jsonl
[ -z "$(find . -name 'missing*' -o -name 'spindle-bench-*')" ] || fail "something was left"
