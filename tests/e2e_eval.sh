#!/bin/sh
# tests/e2e_eval.sh - `spindle eval` on the demo corpus and on files, and its refusals.
#
#   tests/e2e_eval.sh SPINDLE DEMO_FOLDER
. "$(dirname "$0")/e2e.sh"
demo=$2

index_is_measured() {
  # an index is measured, and the run it writes measures the same
  "$spindle" index demo.index --corpus "$demo" >/dev/null 2>&1
  "$spindle" eval demo.index --beir "$demo" --exact --run run.trec --trec >direct 2>/dev/null
  "$spindle" eval --run run.trec --qrels "$demo/qrels/test.tsv" --complete --trec >again
  cmp direct again || fail "the written run has other measures"
  expect 0 '"recall_vs_exact@10": 1, "scored_fraction": 1}' \
    "$spindle" eval demo.index --beir "$demo" --exact --recall --json
  expect 0 "recall_vs_exact@10" "$spindle" eval demo.index --beir "$demo" --recall

  # a judged question without text, a split that is not there, no index
  mkdir -p odd/qrels
  echo '{"_id": "a", "text": "bread"}' >odd/queries.jsonl
  printf 'query-id\tcorpus-id\tscore\na\tx\t0\nb\tx\t1\n' >odd/qrels/test.tsv
  expect 1 "'b' is not in queries.jsonl" "$spindle" eval demo.index --beir odd
  expect 1 "qrels/dev.tsv" "$spindle" eval demo.index --beir odd --split dev
  expect 1 "missing.index" "$spindle" eval missing.index --beir "$demo"
}

if "$spindle" index --help | grep -q -e --corpus; then
  index_is_measured
else
  echo "e2e_eval: skipped the index: this program indexes no corpus"
fi

# a refused run prints no average
echo 'q Q0 d 1 2' >short.trec
echo 'q 0 d 1' >qrels
expect 1 "short.trec: line 1" "$spindle" eval --run short.trec --qrels qrels --trec
! grep -q all output || fail "an average of a refused run"
# a pipe can be read only once, and has no size
printf '1 0 a 1\n' >one.qrels
printf '\n1 Q0 a 1 2 t\n' | expect 0 "ndcg@10 *1.0000" "$spindle" eval --run /dev/stdin --qrels one.qrels
printf ' {"1": {"a": 2}}' | expect 0 "ndcg@10 *1.0000" "$spindle" eval --run /dev/stdin --qrels one.qrels
printf '{"1": {"a": 2}}' | expect 0 "ndcg@10 *1.0000" "$spindle" eval --run - --qrels one.qrels

expect 2 "exclude each other" "$spindle" eval --run a --qrels b --trec --json
expect 2 "need an INDEX" "$spindle" eval --run a --qrels b --recall
expect 2 "expected INDEX" "$spindle" eval demo.index
