/* encoder/tokenizer_read.c - opening tokenizer.json and vocab.txt. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/lines.h"
#include "base/utf8.h"
#include "encoder/tokenizer_parts.h"

static const size_t MAX_FILE_BYTES = (size_t)1 << 30;

/* An id below this is fine in any file. */
enum { MIN_MAX_IDS = 1 << 16 };

/* ---- the model ---- */

/* Files of before 2020 have no "type": what is there tells. */
static const char *model_type(const json_t *model) {
  const char *type = json_string_value(json_object_get(model, "type"));
  if (type) return type;
  if (json_object_get(model, "merges")) return "BPE";
  if (json_object_get(model, "unk_id")) return "Unigram";
  return "WordPiece";
}

/* `json` is the whole file, followed by a NUL. */
static sp_err read_model(sp_tokenizer *t, const json_t *model, const char *json, size_t n,
                         const char *where) {
  if (!json_is_object(model))
    return sp_fail(SP_EFORMAT, "%s: \"model\" is missing or no object", where);
  const char *type = model_type(model);
  const sp_pretokenizer *pre = &t->pretokenizer;
  bool byte_level = pre->n && pre->steps[pre->n - 1].kind == SP_PRE_BYTE_LEVEL;
  sp_err err;
  if (strcmp(type, "BPE") == 0) {
    t->kind = SP_MODEL_BPE;
    err = sp_bpe_read(&t->bpe, &t->vocab, model, byte_level, where);
  } else if (byte_level) {
    err = sp_fail(SP_EFORMAT,
                  "%s: the pre_tokenizer ByteLevel needs a BPE model, not %.60s", where,
                  type);
  } else if (strcmp(type, "WordPiece") == 0) {
    t->kind = SP_MODEL_WORDPIECE;
    err = sp_wordpiece_read(&t->wordpiece, &t->vocab, model, where);
  } else if (strcmp(type, "Unigram") == 0) {
    t->kind = SP_MODEL_UNIGRAM;
    err = sp_unigram_read(&t->unigram, &t->vocab, model, json, n, where);
  } else {
    err = sp_fail(SP_EFORMAT, "%s: the model type %.60s is not supported", where, type);
  }
  if (!err) sp_vocab_seal(&t->vocab);
  return err;
}

/* SentencePiece's BPE takes a whole text for one word. Where merges never reach over the
 * beginning of a word, words can be worked out one by one, and remembered. */
static sp_err add_cut(sp_tokenizer *t) {
  static const char MARK[] = "\xe2\x96\x81";
  if (t->pretokenizer.n || t->kind != SP_MODEL_BPE ||
      !sp_bpe_may_cut(&t->bpe, &t->vocab, MARK))
    return SP_OK;
  sp_pre_step step = {.kind = SP_PRE_CUT, .n_replacement = 3};
  memcpy(step.replacement, MARK, 3);
  return sp_pretokenizer_add(&t->pretokenizer, step);
}

/* ---- what is kept ---- */

static const char *const KEPT[] = {"added_tokens", "normalizer", "pre_tokenizer",
                                   "post_processor", "model"};

/* Appends JSON without the blanks between its tokens. */
static sp_err append_compact(sp_buf *b, const char *s, size_t n) {
  bool in_string = false;
  sp_err err = sp_buf_reserve(b, b->n + n + 1);
  for (size_t i = 0; i < n && !err; i++) {
    bool blank = s[i] == ' ' || s[i] == '\n' || s[i] == '\r' || s[i] == '\t';
    if (blank && !in_string) continue;
    err = sp_buf_append_char(b, s[i]);
    if (s[i] == '"') in_string = !in_string;
    if (s[i] == '\\' && i + 1 < n && !err) err = sp_buf_append_char(b, s[++i]);
  }
  return err;
}

/* Keeps the members that count, as they are written: parsing would lose the digits of
 * Unigram's scores. `json` has parsed and is followed by a NUL. */
static sp_err keep_source(sp_tokenizer *t, const char *json, size_t n,
                          const char *where) {
  sp_json_scan scan = sp_json_scan_begin(json, n);
  sp_buf b = {0}, scratch = {0};
  sp_err err = sp_buf_append_char(&b, '{');
  const char *key;
  size_t n_key;
  for (bool first = true;
       !err && sp_json_scan_member(&scan, &first, &scratch, &key, &n_key);) {
    bool kept = false;
    for (size_t i = 0; i < sizeof KEPT / sizeof *KEPT; i++)
      kept |= n_key == strlen(KEPT[i]) && memcmp(key, KEPT[i], n_key) == 0;
    sp_json_scan_peek(&scan);
    const char *value = scan.at;
    if (kept) err = sp_buf_printf(&b, "%s\"%.*s\":", b.n > 1 ? "," : "", (int)n_key, key);
    sp_json_scan_skip(&scan);
    if (kept && !err) err = append_compact(&b, value, (size_t)(scan.at - value));
  }
  if (!err && scan.fault) err = sp_fail(SP_EFORMAT, "%s: %s", where, scan.fault);
  if (!err) err = sp_buf_append_char(&b, '}');
  sp_buf_free(&scratch);
  if (err) {
    sp_buf_free(&b);
    return err;
  }
  t->source = b.data;
  t->n_source = b.n;
  return SP_OK;
}

static void hash_json(XXH3_state_t *h, const json_t *o) {
  char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
  XXH3_64bits_update(h, text ? text : "null", text ? strlen(text) + 1 : 5);
  free(text);
}

static void hash_model(XXH3_state_t *h, const sp_tokenizer *t) {
  const sp_wordpiece *w = &t->wordpiece;
  const sp_bpe *b = &t->bpe;
  const sp_unigram *u = &t->unigram;
  uint32_t facts[12] = {t->kind,     w->unk,      w->max_chars,     w->inner,
                        b->unk,      b->fuse_unk, b->byte_fallback, b->ignore_merges,
                        b->merges.n, u->unk,      u->byte_fallback, u->n};
  XXH3_64bits_update(h, facts, sizeof facts);
  XXH3_64bits_update(h, b->prefix, sizeof b->prefix);
  XXH3_64bits_update(h, b->suffix, sizeof b->suffix);
  XXH3_64bits_update(h, u->scores, u->n * sizeof *u->scores);
  if (t->kind != SP_MODEL_BPE) return;
  uint64_t sum = 0; /* of the merges, whose order in the table is nobody's business */
  for (size_t i = 0; i <= b->merges.mask; i++) {
    const struct sp_merge *m = &b->merges.slots[i];
    if (m->rank != SP_NO_RANK) sum += XXH3_64bits(m, sizeof *m);
  }
  XXH3_64bits_update(h, &sum, sizeof sum);
}

/* Facts, not the file's layout: one saved again by other software hashes the same. */
static sp_err hash_all(sp_tokenizer *t, const json_t *root, const char *where) {
  XXH3_state_t *h = XXH3_createState();
  if (!h) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  XXH3_64bits_reset(h);
  for (uint32_t id = 0; id < t->vocab.n_ids; id++) {
    size_t n;
    const char *token = sp_vocab_token(&t->vocab, id, &n);
    if (token) XXH3_64bits_update(h, token, n);
    XXH3_64bits_update(h, token ? "" : "\1", 1); /* ends it, or says there is none */
  }
  for (size_t i = 0; i < t->added.n; i++) {
    const sp_added_token *a = &t->added.tokens[i];
    uint32_t facts[6] = {a->id,     a->single_word, a->lstrip,
                         a->rstrip, a->normalized,  a->special};
    XXH3_64bits_update(h, facts, sizeof facts);
  }
  for (size_t i = 1; i < 4; i++) hash_json(h, json_object_get(root, KEPT[i]));
  hash_model(h, t);
  t->hash = XXH3_64bits_digest(h);
  XXH3_freeState(h);
  return SP_OK;
}

/* ---- tokenizer.json ---- */

static sp_err read_root(sp_tokenizer *t, const json_t *root, const char *json, size_t n,
                        const char *where) {
  if (!json_is_object(root))
    return sp_fail(SP_EFORMAT, "%s: must be a JSON object", where);
  sp_err err =
      sp_normalizer_read(&t->normalizer, json_object_get(root, "normalizer"), where);
  if (!err)
    err = sp_pretokenizer_read(&t->pretokenizer, json_object_get(root, "pre_tokenizer"),
                               where);
  if (!err) err = read_model(t, json_object_get(root, "model"), json, n, where);
  if (!err) err = add_cut(t);
  if (!err) err = sp_added_read(t, json_object_get(root, "added_tokens"), where);
  if (!err) err = sp_unicode_new(&t->unicode); /* dear, so not for what is refused */
  if (!err) err = sp_added_prepare(t);
  if (!err)
    err = sp_postprocessor_read(&t->post, &t->vocab,
                                json_object_get(root, "post_processor"), where);
  return err ? err : hash_all(t, root, where);
}

static sp_err check_utf8(const char *s, size_t n, const char *where) {
  if (n == 0) return sp_fail(SP_EFORMAT, "%s: the file is empty", where);
  if (sp_utf8_valid(s, n)) return SP_OK;
  size_t i = 0;
  for (uint32_t code = 0; i < n;) { /* find it: bytes that are no U+FFFD but read so */
    size_t took = sp_utf8_next(s + i, n - i, &code);
    if (code == 0xfffd && !(took == 3 && memcmp(s + i, "\xef\xbf\xbd", 3) == 0)) break;
    i += took;
  }
  return sp_fail(SP_EFORMAT, "%s: not valid UTF-8 at byte %zu", where, i);
}

sp_err sp_tokenizer_parse(const char *json, size_t n, const char *where,
                          sp_tokenizer **out) {
  *out = NULL;
  json_t *root = NULL;
  sp_buf text = {0}; /* a copy with a NUL behind it */
  sp_tokenizer *t = NULL;
  sp_err err = check_utf8(json, n, where);
  if (!err) err = sp_json_parse(json, n, where, &root);
  if (!err) err = sp_buf_append(&text, json, n);
  if (!err && !(t = calloc(1, sizeof *t)))
    err = sp_fail(SP_ENOMEM, "%s: out of memory", where);
  if (!err) {
    size_t most = n > UINT32_MAX - 2 ? UINT32_MAX - 2 : n;
    t->vocab.max_ids = most < MIN_MAX_IDS ? MIN_MAX_IDS : (uint32_t)most;
    err = read_root(t, root, text.data, text.n, where);
  }
  json_decref(root);
  if (!err) err = keep_source(t, text.data, text.n, where);
  sp_buf_free(&text);
  if (err)
    sp_tokenizer_free(t);
  else
    *out = t;
  return err;
}

/* ---- vocab.txt: written as the tokenizer.json that says the same ---- */

static sp_err put_special(sp_buf *b, const sp_strmap *vocab, const char *name,
                          bool *first) {
  uint32_t id = sp_strmap_find(vocab, name, strlen(name));
  if (id == SP_STRMAP_NONE) return SP_OK;
  sp_err err = sp_buf_printf(b,
                             "%s{\"id\":%u,\"content\":\"%s\",\"normalized\":false,"
                             "\"special\":true}",
                             *first ? "" : ",", id, name);
  *first = false;
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

static sp_err write_json(sp_buf *b, const sp_strmap *vocab) {
  static const char *const SPECIAL[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  uint32_t cls = sp_strmap_find(vocab, "[CLS]", 5);
  uint32_t sep = sp_strmap_find(vocab, "[SEP]", 5);
  bool first = true;
  sp_err err = sp_buf_append_str(b, "{\"added_tokens\":[");
  for (size_t i = 0; i < 5 && !err; i++) err = put_special(b, vocab, SPECIAL[i], &first);
  if (!err)
    err = sp_buf_append_str(b,
                            "],\"normalizer\":{\"type\":\"BertNormalizer\"},"
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
  sp_err err = sp_lines_open(path, 1 << 20, &in);
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

static sp_err open_vocab_txt(const char *path, sp_tokenizer **out) {
  sp_strmap *vocab = NULL;
  sp_buf json = {0};
  sp_err err = sp_strmap_new(&vocab);
  if (!err) err = read_vocab_txt(path, vocab);
  if (!err) err = write_json(&json, vocab);
  if (!err) err = sp_tokenizer_parse(json.data, json.n, path, out);
  sp_strmap_free(vocab);
  sp_buf_free(&json);
  return err;
}

/* ---- opening ---- */

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && strcmp(s + n - m, end) == 0;
}

static sp_err open_file(const char *path, sp_tokenizer **out) {
  if (!ends_with(path, ".json")) return open_vocab_txt(path, out);
  sp_map map;
  sp_err err = sp_map_open(path, &map);
  if (err) return err;
  if (map.n > MAX_FILE_BYTES)
    err = sp_fail(SP_EFORMAT, "%s: %zu bytes, expected at most %zu", path, map.n,
                  MAX_FILE_BYTES);
  if (!err) err = sp_tokenizer_parse((const char *)map.data, map.n, path, out);
  sp_map_close(&map);
  return err;
}

sp_err sp_tokenizer_open(const char *path, sp_tokenizer **out) {
  *out = NULL;
  if (!sp_path_is_dir(path)) return open_file(path, out);
  char *json = sp_path_join(path, "tokenizer.json");
  char *text = json ? sp_path_join(path, "vocab.txt") : NULL;
  sp_err err = SP_ENOMEM;
  if (text)
    err = open_file(!sp_path_exists(json) && sp_path_exists(text) ? text : json, out);
  free(json);
  free(text);
  return err;
}
