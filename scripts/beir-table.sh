#!/usr/bin/env bash
# scripts/beir-table.sh - the README's table of test collections, made from scratch.
#
# usage: scripts/beir-table.sh BEIR_DIR TOKENIZER [SPINDLE]
#
# For each folder of BEIR_DIR in BEIR's layout: a lexical index over the tokenizer's ids, then
# nDCG@10 of exact search for two settings of k1 and b, and for the first of them recall@10 of
# the default search against exact search with the share of documents it scored. Prints Markdown.
set -euo pipefail

beir=${1:?usage: scripts/beir-table.sh BEIR_DIR TOKENIZER [SPINDLE]}
tokenizer=${2:?usage: scripts/beir-table.sh BEIR_DIR TOKENIZER [SPINDLE]}
spindle=${3:-build/release/bin/spindle}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# value FILE KEY: one number of a flat JSON object
value() { grep -o "\"$2\": *[-0-9.e+]*" "$1" | head -n 1 | sed 's/.*: *//'; }

index() { # index NAME K1 B
  "$spindle" index "$work/index" --corpus "$beir/$1" --tokenizer "$tokenizer" \
    --k1 "$2" --b "$3" --json >"$work/built.json" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
}

echo '| collection | documents | nDCG@10, k1 0.9 b 0.4 | k1 1.2 b 0.75 | default search | recall@10 | scored |'
echo '| --- | ---: | ---: | ---: | ---: | ---: | ---: |'
for dir in "$beir"/*/; do
  name=$(basename "$dir")
  [ -f "$dir/qrels/test.tsv" ] || continue
  index "$name" 0.9 0.4
  "$spindle" eval "$work/index" --beir "$dir" --exact --json >"$work/exact.json" 2>/dev/null
  "$spindle" eval "$work/index" --beir "$dir" --recall --json >"$work/pruned.json" 2>/dev/null
  documents=$(value "$work/built.json" documents)
  rm -rf "$work/index"
  index "$name" 1.2 0.75
  "$spindle" eval "$work/index" --beir "$dir" --exact --json >"$work/other.json" 2>/dev/null
  rm -rf "$work/index"
  printf '| %s | %s | %.4f | %.4f | %.4f | %.4f | %.3f |\n' "$name" "$documents" \
    "$(value "$work/exact.json" ndcg@10)" "$(value "$work/other.json" ndcg@10)" \
    "$(value "$work/pruned.json" ndcg@10)" "$(value "$work/pruned.json" recall_vs_exact@10)" \
    "$(value "$work/pruned.json" scored_fraction)"
done
