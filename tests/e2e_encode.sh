#!/bin/sh
# tests/e2e_encode.sh - `spindle encode`: order, batches, formats, resuming, refusals.
#
#   tests/e2e_encode.sh SPINDLE [DEVICE]
. "$(dirname "$0")/e2e.sh"
device=${2:-cpu}
feeder=
trap 'kill $feeder 2>/dev/null || true; rm -rf "$dir"' EXIT

# texts of many lengths; ids are strings and numbers, titles come and go
i=0
words=
while [ $i -lt 300 ]; do
  words="$words river$((i % 17)) over stone $i"
  [ $((i % 40)) = 0 ] && words="the heron"
  if [ $((i % 3)) = 0 ]; then
    echo "{\"_id\": \"doc $i\", \"title\": \"Title $i\", \"text\": \"$words\"}"
  else
    echo "{\"id\": $i, \"text\": \"$words\"}"
  fi
  i=$((i + 1))
done >texts.jsonl

# without a model
expect 0 "" "$spindle" encode --encoder lexical -o lexical.jsonl texts.jsonl
[ "$(wc -l <lexical.jsonl)" = 300 ] || fail "lexical: not one line for each text"
# the formats that keep texts have each one, with its title before it
"$spindle" encode --encoder lexical --format seismic -o lexical.seismic texts.jsonl 2>/dev/null
grep -q '"content": "Title 0 the heron"' lexical.seismic || fail "lexical: a text is lost"
[ "$(grep -c '"content": ".*stone' lexical.seismic)" = "$(grep -c stone texts.jsonl)" ] ||
  fail "lexical: texts are lost"
expect 2 "expected --model or --encoder" "$spindle" encode texts.jsonl
expect 2 "needs an index" "$spindle" encode --encoder lexical --query texts.jsonl
expect 1 "no such model directory" "$spindle" encode --model nowhere texts.jsonl

model=$shared/golden/encoders/models/bert-splade-tiny
if [ ! -d "$model" ]; then
  echo "e2e_encode: skipped the rest: there is no SPINDLE_SHARED with models"
  exit 0
fi
encode() { "$spindle" encode --model "$model" --device "$device" "$@"; }
if [ "$device" = cuda ] && ! encode /dev/null 2>output && grep -q "no CUDA" output; then
  echo "e2e_encode: skipped the rest: $(cat output)"
  exit 0
fi

encode -o all.jsonl texts.jsonl 2>/dev/null || fail "encode failed"
[ "$(wc -l <all.jsonl)" = 300 ] || fail "not one line for each text"
head -n 1 all.jsonl | grep -q '^{"id":"doc 0","terms":\[' || fail "the first id is another"
tail -n 1 all.jsonl | grep -q '^{"id":299,"terms":\[' || fail "a number did not stay one"

# batches and threads change no more than the last digits: the same terms
terms() { sed 's/,"weights".*//' "$1"; }
encode --batch-tokens 1 --threads 1 -o small.jsonl texts.jsonl 2>/dev/null
terms all.jsonl >a
terms small.jsonl | cmp -s - a || fail "small batches change the terms"
encode - <texts.jsonl >piped.jsonl 2>/dev/null
cmp -s all.jsonl piped.jsonl || fail "a pipe changes the vectors"

# every format says the same
encode -o all.spv texts.jsonl 2>/dev/null
"$spindle" convert all.spv - --to jsonl 2>/dev/null | tr -d ' ' >b
# convert writes all ids as strings
tr -d ' ' <all.jsonl | sed 's/^{"id":\([0-9]*\),/{"id":"\1",/' >c
terms b >b.terms
terms c | cmp -s - b.terms || fail "compact holds other terms"

# cut short anywhere, an output goes on to the same end
size=$(wc -c <all.jsonl)
for part in 0 7 $((size / 3)) $((size - 1)); do
  head -c "$part" all.jsonl >again.jsonl
  encode --resume -o again.jsonl texts.jsonl 2>/dev/null || fail "resume at $part failed"
  terms again.jsonl | cmp -s - a || fail "resumed at $part of $size bytes: other lines"
done
{ head -n 100 all.jsonl; printf '\0\0\0\0'; } >again.jsonl
encode --resume -o again.jsonl texts.jsonl 2>/dev/null || fail "resume behind zeros failed"
terms again.jsonl | cmp -s - a || fail "resumed behind zeros: other lines"
size=$(wc -c <all.spv)
head -c $((size / 2)) all.spv >again.spv
encode --resume -o again.spv texts.jsonl 2>/dev/null || fail "resume of compact failed"
"$spindle" convert again.spv - --to jsonl 2>/dev/null | wc -l | grep -q -w 300 ||
  fail "compact was not resumed whole"

# what is somebody else's, or of other texts, is not gone on with and stays as it was
printf '{"id":7,"text":"a corpus"}\n{"id":8,"text":"without its last newline"}' >corpus.jsonl
cp corpus.jsonl corpus.copy
expect 1 "corpus.jsonl:1: not a line of vectors" encode --resume -o corpus.jsonl texts.jsonl
cmp -s corpus.jsonl corpus.copy || fail "--resume changed a corpus"
printf 'notes' >notes.jsonl
expect 1 "notes.jsonl:1: not a line of vectors" encode --resume -o notes.jsonl texts.jsonl
[ "$(cat notes.jsonl)" = notes ] || fail "--resume changed notes"
mkfifo fifo
expect 1 "only a file can be resumed" timeout 60 "$spindle" encode --model "$model" --resume \
  --format jsonl -o fifo texts.jsonl
head -n 100 texts.jsonl >fewer.jsonl
cp all.jsonl again.jsonl
expect 1 "fewer.jsonl: the output holds 300 vectors" encode --resume -o again.jsonl fewer.jsonl
cmp -s all.jsonl again.jsonl || fail "fewer texts changed the output"
expect 1 "another writer" flock again.jsonl "$spindle" encode --model "$model" --resume \
  -o again.jsonl texts.jsonl

# killed while it writes, it goes on to the same bytes: a pipe keeps it from being done before
lines=900
[ "$device" = cuda ] && lines=6000
awk -v n=$lines 'BEGIN {
  for (i = 0; i < n; i++)
    printf "{\"id\": %d, \"text\": \"stone %d by the river, %d herons\"}\n", i, i * 7 % 97, i % 11
}' >many.jsonl
encode -o whole.jsonl many.jsonl 2>/dev/null || fail "many texts: encode failed"
mkfifo pipe
{ head -n $((lines * 5 / 6)) many.jsonl; exec sleep 60; } >pipe &
feeder=$!
"$spindle" encode --model "$model" --device "$device" --resume -o killed.jsonl pipe 2>/dev/null &
pid=$!
until [ -s killed.jsonl ]; do
  kill -0 $pid || fail "it ended before it was killed"
  sleep 0.05
done
kill -9 $pid $feeder
wait $pid $feeder 2>/dev/null || true
[ "$(wc -l <killed.jsonl)" -lt $lines ] || fail "it was killed too late"
encode --resume -o killed.jsonl many.jsonl 2>/dev/null || fail "resume after a kill failed"
cmp -s whole.jsonl killed.jsonl || fail "resumed after a kill: other bytes"

# pruning
encode --top-k 3 texts.jsonl 2>/dev/null | awk -F'[][]' '{ if (split($2, t, ",") > 3) exit 1 }' ||
  fail "--top-k 3 keeps more"

# what is wrong with the input, and where; no half-written output
echo '{"id": 1, "text": "one"}' >bad.jsonl
echo '{"id": 2, "text": 2}' >>bad.jsonl
expect 1 "bad.jsonl:2:" encode -o bad.out.jsonl bad.jsonl
[ ! -e bad.out.jsonl ] || fail "a failed run left its output"
echo 'no JSON' >bad.jsonl
expect 1 "bad.jsonl:1:" encode bad.jsonl
expect 1 "No such file" encode missing.jsonl
if [ "$device" = cpu ]; then
  expect 1 "the CPU computes in f32 or int8" encode --precision bf16 texts.jsonl
else
  expect 1 "CUDA computes in f16 or bf16" encode --precision int8 texts.jsonl
fi
expect 2 "format" encode --format words texts.jsonl
: >empty.jsonl
encode empty.jsonl >none 2>/dev/null || fail "an empty file is no failure"
[ ! -s none ] || fail "vectors came of nothing"
expect 1 "is missing" "$spindle" encode --model "$shared/golden/encoders/bad/tensor-missing" texts.jsonl
[ "$(wc -l <output)" = 1 ] || fail "a refusal takes more than one line: $(cat output)"

# queries by table, by network and by an idf.json
infree=$shared/golden/encoders/models/distilbert-idf-infree
echo '{"id": 1, "text": "the the river"}' |
  "$spindle" encode --model "$infree" --query --device "$device" >table 2>/dev/null
echo '{"id": 1, "text": "the the river"}' |
  "$spindle" encode --model "$infree" --query --neural-queries --device "$device" >network 2>/dev/null
cmp -s table network && fail "--neural-queries changes nothing"
echo '{"the": 0.5, "nosuchtoken": 3}' >idf.json
echo '{"id": 1, "text": "the the river"}' |
  encode --query --idf idf.json 2>/dev/null | grep -q '"weights":\[0.5\]' ||
  fail "--idf does not weigh 'the' once with 0.5"

# what would silently give other vectors is refused
models=$shared/golden/encoders/models
other() { # NAME FILE SED: a copy of the model, without weights of its own, with FILE changed
  rm -rf other && mkdir other
  cp -R "$models/$1/." other && chmod -R u+w other
  sed "$3" "$models/$1/$2" >"other/$2"
}
refused() { expect 1 "$1" "$spindle" encode --model other texts.jsonl; }
lora="s|\"\\.\\./mistral-splade\"|\"$models/mistral-splade\"|"
other mistral-splade-lora adapter_config.json "$lora; s/\"init_lora_weights\": true/\"init_lora_weights\": \"pissa\"/"
refused 'init_lora_weights "pissa" is not supported'
other mistral-splade-lora adapter_config.json "$lora"
expect 0 "" "$spindle" encode --model other -o lora.jsonl texts.jsonl
other mistral-splade config.json '1s/{/{"rope_scaling": {"partial_rotary_factor": 0.5},/'
refused "partial_rotary_factor 0.5 is not supported"
other modernbert-splade config.json 's/"rope_parameters": {/&"rope_type": "linear",/'
refused "rope_parameters are not those of"
other bert-splade-tiny modules.json 's/^]$/,{"path": "", "type": "Normalize"}]/'
refused "Normalize after SpladePooling"
other bert-splade-tiny modules.json 's/^]$/,{"path": "second", "type": "SpladePooling"}]/'
mkdir other/second && echo '{"activation_function": "log1p_relu"}' >other/second/config.json
refused "log1p_relu is not the other SpladePooling's"

# CamemBERT is RoBERTa's network under another name
other roberta-splade config.json 's/Roberta/Camembert/; s/"roberta"/"camembert"/'
grep -q Camembert other/config.json || fail "the model has no name to change"
expect 0 "" "$spindle" encode --model other -o camembert.jsonl texts.jsonl
expect 0 "" "$spindle" encode --model "$models/roberta-splade" -o roberta.jsonl texts.jsonl
cmp -s camembert.jsonl roberta.jsonl || fail "CamemBERT's vectors are not RoBERTa's"
echo "e2e_encode: all as expected"
