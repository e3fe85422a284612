/* encoder/vocab_txt.c - BERT's vocab.txt, read as the tokenizer.json that says the same. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/utf8.h"
#include "encoder/tokenizer_parts.h"

static const char *const SPECIAL[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
enum { N_SPECIAL = sizeof SPECIAL / sizeof *SPECIAL };

static bool is_special(const char *token) {
  for (size_t i = 0; i < N_SPECIAL; i++)
    if (!strcmp(SPECIAL[i], token)) return true;
  return false;
}

static bool is_content(const json_t *tokens, const char *content) {
  const json_t *token;
  size_t i;
  json_array_foreach(tokens, i, token) {
    const char *own = json_string_value(json_object_get(token, "content"));
    if (own && !strcmp(own, content)) return true;
  }
  return false;
}

/* added_tokens.json's {"token": id}, as transformers takes it. */
static int add_encoder(const json_t *encoder, json_t *tokens) {
  const char *content;
  json_t *id;
  int failed = 0;
  json_object_foreach((json_t *)(uintptr_t)encoder, content, id) {
    bool special = is_special(content);
    failed |= json_array_append_new(
        tokens, json_pack("{s:O,s:s,s:b,s:b}", "id", id, "content", content, "special",
                          special, "normalized", !special));
  }
  return failed;
}

/* BERT's own five, where the vocabulary has them and nobody else named them. */
static int add_special(const sp_strmap *vocab, json_t *tokens) {
  int failed = 0;
  for (size_t i = 0; i < N_SPECIAL; i++) {
    uint32_t id = sp_strmap_find(vocab, SPECIAL[i], strlen(SPECIAL[i]));
    if (id == SP_STRMAP_NONE || is_content(tokens, SPECIAL[i])) continue;
    failed |= json_array_append_new(
        tokens, json_pack("{s:I,s:s,s:b,s:b}", "id", (json_int_t)id, "content",
                          SPECIAL[i], "special", 1, "normalized", 0));
  }
  return failed;
}

/* Appends the list of added tokens; tokenizer_config.json's come when it is parsed, and
 * added_tokens.json counts where that has none. */
static sp_err put_added(sp_buf *b, const sp_strmap *vocab,
                        const sp_tokenizer_rules *rules) {
  char *path = NULL;
  json_t *encoder = NULL, *tokens = json_array();
  const json_t *decoder = json_object_get(rules->config, "added_tokens_decoder");
  sp_err err = SP_OK;
  if (!decoder)
    err = sp_json_load_beside(rules->dir, "added_tokens.json", false, &path, &encoder);
  int failed = !tokens;
  if (!err && !failed) failed = add_encoder(encoder, tokens) | add_special(vocab, tokens);
  char *text = err || failed ? NULL : json_dumps(tokens, JSON_COMPACT);
  if (!err)
    err = text ? sp_buf_append_str(b, text)
               : sp_fail(SP_ENOMEM, "added tokens: out of memory");
  free(text);
  free(path);
  json_decref(encoder);
  json_decref(tokens);
  return err;
}

static sp_err put_vocab(sp_buf *b, const sp_strmap *vocab) {
  sp_err err = SP_OK;
  for (uint32_t id = 0; id < sp_strmap_count(vocab) && !err; id++) {
    size_t n;
    const char *token = sp_strmap_key(vocab, id, &n);
    err = sp_buf_append_str(b, id ? "," : "");
    if (!err) err = sp_json_put_string(b, token, n);
    if (!err) err = sp_buf_printf(b, ":%u", id);
  }
  return err;
}

static sp_err write_json(sp_buf *b, const sp_strmap *vocab,
                         const sp_tokenizer_rules *rules) {
  uint32_t cls = sp_strmap_find(vocab, "[CLS]", 5);
  uint32_t sep = sp_strmap_find(vocab, "[SEP]", 5);
  sp_err err = sp_buf_append_str(b, "{\"added_tokens\":");
  if (!err) err = put_added(b, vocab, rules);
  if (!err)
    err = sp_buf_append_str(b,
                            ",\"normalizer\":{\"type\":\"BertNormalizer\"},"
                            "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},");
  if (!err && cls != SP_STRMAP_NONE && sep != SP_STRMAP_NONE)
    err = sp_buf_printf(b,
                        "\"post_processor\":{\"type\":\"BertProcessing\","
                        "\"cls\":[\"[CLS]\",%u],\"sep\":[\"[SEP]\",%u]},",
                        cls, sep);
  if (!err) err = sp_buf_append_str(b, "\"model\":{\"type\":\"WordPiece\",\"vocab\":{");
  if (!err) err = put_vocab(b, vocab);
  return err ? err : sp_buf_append_str(b, "}}}");
}

/* A token's id is its line, from 0. */
static sp_err read_vocab_txt(const char *path, sp_strmap *vocab) {
  sp_lines in;
  sp_err err = sp_path_need_file(path);
  if (!err) err = sp_lines_open(path, 1 << 20, &in);
  if (err) return err;
  for (bool more = true; !err;) {
    err = sp_lines_next(&in, &more);
    if (err || !more) break;
    uint32_t id, count = sp_strmap_count(vocab);
    err = sp_strmap_add(vocab, in.line, in.n, &id);
    if (!err && !sp_utf8_valid(in.line, in.n))
      err = sp_fail(SP_EFORMAT, "%s:%llu: not valid UTF-8", path,
                    (unsigned long long)in.number);
    if (!err && id != count)
      err = sp_fail(SP_EFORMAT, "%s:%llu: the token \"%.60s\" is there twice", path,
                    (unsigned long long)in.number, in.line);
  }
  sp_lines_close(&in);
  if (!err && sp_strmap_count(vocab) == 0)
    err = sp_fail(SP_EFORMAT, "%s: the file is empty", path);
  return err;
}

sp_err sp_vocab_txt_open(const char *path, const sp_tokenizer_rules *rules,
                         sp_tokenizer **out) {
  sp_strmap *vocab = NULL;
  sp_buf json = {0};
  sp_err err = sp_strmap_new(&vocab);
  if (!err) err = read_vocab_txt(path, vocab);
  if (!err) err = write_json(&json, vocab, rules);
  if (!err) err = sp_tokenizer_parse_ruled(json.data, json.n, path, rules, out);
  sp_strmap_free(vocab);
  sp_buf_free(&json);
  return err;
}
