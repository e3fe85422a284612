/* tools/cmd_tokenize.c - `spindle tokenize`: the token ids of texts, one JSON line each. */
#include <string.h>

#include "base/json_scan.h"
#include "base/lines.h"
#include "encoder/tokenizer.h"
#include "tools/cmd.h"

static const char NAME[] = "tokenize";

static const size_t MAX_LINE = (size_t)1 << 30;

typedef struct tokenize {
  sp_tokenizer *tokenizer;
  sp_tokenize_options options;
  sp_tokens tokens;
  sp_buf key, text, line; /* scratch */
} tokenize;

/* The members of one input line; `id` as it is written. */
typedef struct record {
  const char *id, *text;
  size_t n_id, n_text;
} record;

static sp_err read_record(tokenize *z, const sp_lines *in, record *out) {
  *out = (record){0};
  sp_json_scan s = sp_json_scan_begin(in->line, in->n);
  const char *key;
  size_t n;
  for (bool first = true; sp_json_scan_member(&s, &first, &z->key, &key, &n);) {
    char kind = sp_json_scan_peek(&s);
    if (n == 4 && memcmp(key, "text", 4) == 0) {
      sp_json_scan_string(&s, &z->text, &out->text, &out->n_text);
      continue;
    }
    const char *value = s.at;
    sp_json_scan_skip(&s);
    if (n != 2 || memcmp(key, "id", 2) != 0) continue;
    if (kind != '"' && kind != '0')
      return sp_fail(SP_EFORMAT, "%s:%llu: \"id\" must be a string or a number", in->name,
                     (unsigned long long)in->number);
    out->id = value;
    out->n_id = (size_t)(s.at - value);
  }
  const char *fault = s.fault;
  if (!fault && !sp_json_scan_ended(&s)) fault = "more follows the object";
  if (!fault && !out->id) fault = "\"id\" is missing";
  if (!fault && !out->text) fault = "\"text\" is missing";
  if (!fault) return SP_OK;
  return sp_fail(SP_EFORMAT, "%s:%llu: %s", in->name, (unsigned long long)in->number,
                 fault);
}

static sp_err put_numbers(sp_buf *b, uint32_t n) {
  char digits[10];
  size_t i = sizeof digits;
  do {
    digits[--i] = (char)('0' + n % 10);
    n /= 10;
  } while (n);
  return sp_buf_append(b, digits + i, sizeof digits - i);
}

static sp_err write_record(tokenize *z, const record *r) {
  sp_buf *b = &z->line;
  const sp_tokens *t = &z->tokens;
  sp_buf_clear(b);
  sp_err err = sp_buf_append_str(b, "{\"id\":");
  if (!err) err = sp_buf_append(b, r->id, r->n_id);
  if (!err) err = sp_buf_append_str(b, ",\"ids\":[");
  for (uint32_t i = 0; i < t->n && !err; i++) {
    if (i) err = sp_buf_append_char(b, ',');
    if (!err) err = put_numbers(b, t->ids[i]);
  }
  if (!err && z->options.offsets) err = sp_buf_append_str(b, "],\"offsets\":[");
  for (uint32_t i = 0; i < t->n && z->options.offsets && !err; i++) {
    err = sp_buf_append_str(b, i ? ",[" : "[");
    if (!err) err = put_numbers(b, t->begin[i]);
    if (!err) err = sp_buf_append_char(b, ',');
    if (!err) err = put_numbers(b, t->end[i]);
    if (!err) err = sp_buf_append_char(b, ']');
  }
  if (!err) err = sp_buf_append_str(b, "]}\n");
  if (!err) fwrite(b->data, 1, b->n, stdout); /* cmd_finish() looks at the stream */
  return err;
}

static sp_err tokenize_file(tokenize *z, const char *path) {
  sp_lines in;
  sp_err err = sp_lines_open(path, MAX_LINE, &in);
  if (err) return err;
  for (bool more; !(err = sp_lines_next(&in, &more)) && more && !ferror(stdout);) {
    if (in.n == 0) continue;
    record r;
    err = read_record(z, &in, &r);
    if (!err)
      err = sp_tokenizer_encode(z->tokenizer, r.text, r.n_text, &z->options, &z->tokens);
    if (!err) err = write_record(z, &r);
    if (err) break;
  }
  sp_lines_close(&in);
  return err;
}

int cmd_tokenize(int argc, char **argv) {
  const char *tokenizer = NULL;
  bool no_special = false;
  tokenize z = {0};
  const cmd_option options[] = {
      {"tokenizer", 't', CMD_STRING, &tokenizer, "FILE",
       "tokenizer.json, vocab.txt, or a folder that holds one of them", 0, 0},
      {"offsets", 0, CMD_FLAG, &z.options.offsets, NULL,
       "add each token's bytes in the text, [begin, end)", 0, 0},
      {"max-length", 0, CMD_U32, &z.options.max_length, "N",
       "cut to N ids, special tokens counted; 0: never", 0, 0},
      {"no-special-tokens", 0, CMD_FLAG, &no_special, NULL,
       "leave out [CLS], [SEP], <s> and the like", 0, 0},
      {NULL, 0, CMD_FLAG, NULL, NULL, NULL, 0, 0},
  };
  const cmd_spec spec = {
      NAME, "--tokenizer FILE [options] [FILE]",
      "Reads JSON lines with \"id\" and \"text\" from FILE or standard input and writes\n"
      "{\"id\": ..., \"ids\": [...]} for each, as the model's own tokenizer would.",
      options,
      "  echo '{\"id\": 1, \"text\": \"Hello there\"}' |\n"
      "    spindle tokenize --tokenizer bert-base-uncased/tokenizer.json --offsets\n"};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (!tokenizer) return cmd_misuse(NAME, "--tokenizer is missing");
  if (n_words > 1) return cmd_misuse(NAME, "takes one file, not %d", n_words);
  z.options.special_tokens = !no_special;

  sp_err err = sp_tokenizer_open(tokenizer, &z.tokenizer);
  if (!err) err = tokenize_file(&z, n_words ? argv[1] : "-");
  status = err ? cmd_fail(NAME) : cmd_finish(NAME);
  sp_tokenizer_free(z.tokenizer);
  sp_tokens_free(&z.tokens);
  sp_buf_free(&z.key);
  sp_buf_free(&z.text);
  sp_buf_free(&z.line);
  return status;
}
