#!/usr/bin/env bash
# scripts/model-table.sh - the README's table of models, made from scratch.
#
# usage: scripts/model-table.sh MODELS_DIR BEIR_DIR [DEVICE [PRECISION [SPINDLE]]]
#
# For each model directory of MODELS_DIR and each collection of BEIR_DIR in BEIR's layout: an
# index through the model, then nDCG@10 of neural and of inference-free queries, of exact search
# and of the default search. The queries of a model without a table of its own take the first
# idf.json below MODELS_DIR. DEVICE is cpu unless given; PRECISION f32, or f16 for cuda. Prints
# Markdown; how long each index took goes to standard error.
set -euo pipefail

usage='usage: scripts/model-table.sh MODELS_DIR BEIR_DIR [DEVICE [PRECISION [SPINDLE]]]'
models=${1:?$usage}
beir=${2:?$usage}
device=${3:-cpu}
precision=${4:-$([ "$device" = cuda ] && echo f16 || echo f32)}
spindle=${5:-build/release/bin/spindle}
idf=("$models"/*/idf.json) # the pattern itself where there is none
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
on=(--device "$device" --precision "$precision")

# value FILE KEY: one number of a flat JSON object
value() { grep -o "\"$2\": *[-0-9.e+]*" "$1" | head -n 1 | sed 's/.*: *//'; }

# run COMMAND...: what it says on standard error is shown if it fails
run() { "$@" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }; }

# ndcg DIR OPTION...: nDCG@10 of the index at hand
ndcg() {
  run "$spindle" eval "$work/index" --beir "$@" "${on[@]}" --json >"$work/eval.json"
  value "$work/eval.json" ndcg@10
}

echo '| model | collection | precision | neural queries, exact | default search | inference-free, exact | default search |'
echo '| --- | --- | --- | ---: | ---: | ---: | ---: |'
for model in "$models"/*/; do
  [ -f "$model/config.json" ] || continue
  table=()
  if [ ! -f "$model/router_config.json" ] && [ ! -f "$model/idf.json" ]; then
    table=(--idf "${idf[0]}")
  fi
  for collection in "$beir"/*/; do
    [ -f "$collection/qrels/test.tsv" ] || continue
    run "$spindle" index "$work/index" --corpus "$collection" --model "$model" "${table[@]}" \
      "${on[@]}" --json >"$work/built.json"
    printf '%s, %s: %s documents in %s s\n' "$(basename "$model")" "$(basename "$collection")" \
      "$(value "$work/built.json" documents)" "$(value "$work/built.json" seconds)" >&2
    printf '| %s | %s | %s | %.4f | %.4f | %.4f | %.4f |\n' "$(basename "$model")" \
      "$(basename "$collection")" "$precision$([ "$device" = cpu ] || echo ", GPU")" \
      "$(ndcg "$collection" --neural-queries --exact)" \
      "$(ndcg "$collection" --neural-queries)" \
      "$(ndcg "$collection" --exact)" "$(ndcg "$collection")"
    rm -rf "$work/index"
  done
done
