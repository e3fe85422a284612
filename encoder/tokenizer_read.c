/* encoder/tokenizer_read.c - opening tokenizer.json. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "encoder/tokenizer_parts.h"

static const size_t MAX_FILE_BYTES = (size_t)1 << 30;

/* An id below this is fine in any file. */
enum { MIN_MAX_IDS = 1 << 16 };

static const char *const PARTS[SP_N_PARTS] = {[SP_PART_ADDED_TOKENS] = "added_tokens",
                                              [SP_PART_NORMALIZER] = "normalizer",
                                              [SP_PART_PRE_TOKENIZER] = "pre_tokenizer",
                                              [SP_PART_POST_PROCESSOR] = "post_processor",
                                              [SP_PART_MODEL] = "model"};

/* ---- the model ---- */

/* Files of before 2020 have no "type": what is there tells. */
static const char *model_type(const sp_model_file *f) {
  const char *type = json_string_value(json_object_get(f->facts, "type"));
  if (type) return type;
  if (f->merges.scan.begin) return "BPE";
  if (json_object_get(f->facts, "unk_id")) return "Unigram";
  return "WordPiece";
}

static sp_err read_model_file(const sp_member *model, const char *where,
                              sp_model_file *out) {
  static const char *const NAMES[] = {"vocab", "merges"};
  if (sp_member_kind(model) != '{')
    return sp_fail(SP_EFORMAT, "%s: \"model\" is missing or no object", where);
  sp_json_scan s = model->scan;
  sp_member found[2];
  sp_buf rest = {0};
  sp_err err = sp_members_find(&s, NAMES, 2, where, found, &rest);
  if (!err) err = sp_json_parse(rest.data, rest.n, "\"model\"", &out->facts);
  if (err && !s.fault) sp_err_at(err, "%s", where);
  sp_buf_free(&rest);
  out->vocab = found[0];
  out->merges = found[1];
  return err;
}

static sp_err read_kind(sp_tokenizer *t, const sp_model_file *f, const char *where) {
  const char *type = model_type(f);
  const sp_pretokenizer *pre = &t->pretokenizer;
  bool byte_level = pre->n && pre->steps[pre->n - 1].kind == SP_PRE_BYTE_LEVEL;
  if (strcmp(type, "BPE") == 0) {
    t->kind = SP_MODEL_BPE;
    return sp_bpe_read(&t->bpe, &t->vocab, f, byte_level, where);
  }
  if (byte_level)
    return sp_fail(SP_EFORMAT,
                   "%s: the pre_tokenizer ByteLevel needs a BPE model, not %.60s", where,
                   type);
  if (strcmp(type, "WordPiece") == 0) {
    t->kind = SP_MODEL_WORDPIECE;
    return sp_wordpiece_read(&t->wordpiece, &t->vocab, f, where);
  }
  if (strcmp(type, "Unigram") == 0) {
    t->kind = SP_MODEL_UNIGRAM;
    return sp_unigram_read(&t->unigram, &t->vocab, f, where);
  }
  return sp_fail(SP_EFORMAT, "%s: the model type %.60s is not supported", where, type);
}

static sp_err read_model(sp_tokenizer *t, const sp_member *model, const char *where) {
  sp_model_file f = {.facts = NULL};
  sp_err err = read_model_file(model, where, &f);
  if (!err) err = read_kind(t, &f, where);
  json_decref(f.facts);
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

/* ---- the hash ---- */

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

/* Each token ends with a NUL; an id without one is a 1. Files may leave most ids out. */
static void hash_vocab(XXH3_state_t *h, const sp_vocab *v) {
  char ones[64];
  memset(ones, 1, sizeof ones);
  for (uint32_t id = 0; id < v->n_ids;) {
    uint32_t gap = 0;
    while (gap < sizeof ones && id < v->n_ids && v->number_of[id] == SP_STRMAP_NONE) {
      gap++;
      id++;
    }
    XXH3_64bits_update(h, ones, gap);
    size_t n;
    const char *token = sp_vocab_token(v, id, &n);
    if (!token) continue;
    XXH3_64bits_update(h, token, n + 1);
    id++;
  }
}

/* Facts, not the file's layout: one saved again by other software hashes the same. */
static sp_err hash_all(sp_tokenizer *t, json_t *const trees[SP_N_PARTS],
                       const char *where) {
  XXH3_state_t *h = XXH3_createState();
  if (!h) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  XXH3_64bits_reset(h);
  hash_vocab(h, &t->vocab);
  for (size_t i = 0; i < t->added.n; i++) {
    const sp_added_token *a = &t->added.tokens[i];
    uint32_t facts[6] = {a->id,     a->single_word, a->lstrip,
                         a->rstrip, a->normalized,  a->special};
    XXH3_64bits_update(h, facts, sizeof facts);
  }
  for (size_t i = SP_PART_NORMALIZER; i <= SP_PART_POST_PROCESSOR; i++)
    hash_json(h, trees[i]);
  hash_model(h, t);
  t->hash = XXH3_64bits_digest(h);
  XXH3_freeState(h);
  return SP_OK;
}

/* ---- tokenizer.json ---- */

static sp_err read_parts(sp_tokenizer *t, json_t *const trees[SP_N_PARTS],
                         const char *where) {
  sp_err err = sp_normalizer_read(&t->normalizer, trees[SP_PART_NORMALIZER], where);
  if (!err)
    err = sp_pretokenizer_read(&t->pretokenizer, trees[SP_PART_PRE_TOKENIZER], where);
  if (!err) err = read_model(t, &t->parts[SP_PART_MODEL], where);
  if (!err) err = add_cut(t);
  if (!err) err = sp_added_read(t, trees[SP_PART_ADDED_TOKENS], where);
  if (!err) err = sp_added_prepare(t);
  if (!err)
    err =
        sp_postprocessor_read(&t->post, &t->vocab, trees[SP_PART_POST_PROCESSOR], where);
  return err ? err : hash_all(t, trees, where);
}

static sp_err replace_part(sp_tokenizer *t, sp_file_part part, const json_t *tree,
                           const char *where) {
  char *text = json_dumps(tree, JSON_COMPACT);
  sp_buf *b = &t->changed[part];
  sp_err err =
      text ? sp_buf_append_str(b, text) : sp_fail(SP_ENOMEM, "%s: out of memory", where);
  free(text);
  if (!err)
    t->parts[part] = (sp_member){sp_json_scan_begin(b->data, b->n), b->data + b->n};
  return err;
}

/* The parts as other files will have them. */
static sp_err apply_rules(sp_tokenizer *t, const sp_tokenizer_rules *rules,
                          json_t *trees[SP_N_PARTS], const char *where) {
  const sp_file_part added = SP_PART_ADDED_TOKENS, normalizer = SP_PART_NORMALIZER,
                     pre = SP_PART_PRE_TOKENIZER;
  bool changed;
  sp_err err = sp_tokenizer_rules_normalizer(rules, &trees[normalizer], &changed, where);
  if (!err && changed) err = replace_part(t, normalizer, trees[normalizer], where);
  if (!err) err = sp_tokenizer_rules_added(rules, &trees[added], &changed, where);
  if (!err && changed) err = replace_part(t, added, trees[added], where);
  if (!err) err = sp_tokenizer_rules_pretokenizer(rules, trees[pre], &changed, where);
  if (!err && changed) err = replace_part(t, pre, trees[pre], where);
  return err;
}

/* Reads t->text. */
static sp_err read_text(sp_tokenizer *t, const sp_tokenizer_rules *rules,
                        const char *where) {
  sp_json_scan s = sp_json_scan_begin(t->text.data, t->text.n);
  char kind = sp_json_scan_peek(&s);
  if (kind && kind != '{') return sp_fail(SP_EFORMAT, "%s: must be a JSON object", where);
  sp_err err = sp_members_find(&s, PARTS, SP_N_PARTS, where, t->parts, NULL);
  if (!err && !sp_json_scan_ended(&s)) {
    s.fault = "expected the end of the file";
    err = sp_scan_fault(&s, where);
  }
  json_t *trees[SP_N_PARTS] = {NULL};
  for (size_t i = 0; i < SP_PART_MODEL && !err; i++)
    err = sp_member_parse(&t->parts[i], PARTS[i], where, &trees[i]);
  if (!err && rules) err = apply_rules(t, rules, trees, where);
  if (!err) err = read_parts(t, trees, where);
  if (!err && rules) err = sp_tokenizer_rules_check(rules, t);
  for (size_t i = 0; i < SP_N_PARTS; i++) json_decref(trees[i]);
  return err;
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

sp_err sp_tokenizer_parse_ruled(const char *json, size_t n, const char *where,
                                const sp_tokenizer_rules *rules, sp_tokenizer **out) {
  *out = NULL;
  sp_err err = check_utf8(json, n, where);
  if (err) return err;
  sp_tokenizer *t = calloc(1, sizeof *t);
  if (!t) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  size_t most = n > UINT32_MAX - 2 ? UINT32_MAX - 2 : n;
  t->vocab.max_ids = most < MIN_MAX_IDS ? MIN_MAX_IDS : (uint32_t)most;
  err = sp_buf_append(&t->text, json, n); /* and a NUL, as a scan needs */
  if (!err) err = read_text(t, rules, where);
  if (err)
    sp_tokenizer_free(t);
  else
    *out = t;
  return err;
}

sp_err sp_tokenizer_parse(const char *json, size_t n, const char *where,
                          sp_tokenizer **out) {
  return sp_tokenizer_parse_ruled(json, n, where, NULL, out);
}

/* ---- saving ---- */

/* The end of the string whose quote is at s. */
static const char *string_end(const char *s, const char *end) {
  for (s++; s < end && *s != '"'; s++)
    if (*s == '\\') s++;
  return s < end ? s + 1 : end;
}

/* Appends sound JSON without the blanks between its tokens. */
static sp_err append_compact(sp_buf *b, const char *s, const char *end) {
  sp_err err = sp_buf_reserve(b, b->n + (size_t)(end - s) + 1);
  while (s < end && !err) {
    const char *run = s;
    while (s < end && *s != ' ' && *s != '\n' && *s != '\r' && *s != '\t')
      s = *s == '"' ? string_end(s, end) : s + 1;
    err = sp_buf_append(b, run, (size_t)(s - run));
    while (s < end && (*s == ' ' || *s == '\n' || *s == '\r' || *s == '\t')) s++;
  }
  return err;
}

/* The members that count, as they are written: parsing would lose the digits of Unigram's
 * scores. */
sp_err sp_tokenizer_save(const sp_tokenizer *t, sp_buf *out) {
  sp_err err = sp_buf_append_char(out, '{');
  bool first = true;
  for (size_t i = 0; i < SP_N_PARTS && !err; i++) {
    const sp_member *part = &t->parts[i];
    if (!part->scan.begin) continue;
    err = sp_buf_printf(out, "%s\"%s\":", first ? "" : ",", PARTS[i]);
    if (!err) err = append_compact(out, part->scan.at, part->end);
    first = false;
  }
  return err ? err : sp_buf_append_char(out, '}');
}

/* ---- opening ---- */

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && strcmp(s + n - m, end) == 0;
}

static sp_err open_json(const char *path, const sp_tokenizer_rules *rules,
                        sp_tokenizer **out) {
  sp_map map;
  sp_err err = sp_map_open(path, &map);
  if (err) return err;
  if (map.n > MAX_FILE_BYTES)
    err = sp_fail(SP_EFORMAT, "%s: %zu bytes, expected at most %zu", path, map.n,
                  MAX_FILE_BYTES);
  if (!err)
    err = sp_tokenizer_parse_ruled((const char *)map.data, map.n, path, rules, out);
  sp_map_close(&map);
  return err;
}

static sp_err open_file(const char *path, const sp_tokenizer_wish *wish,
                        sp_tokenizer **out) {
  sp_tokenizer_rules rules;
  sp_err err = sp_tokenizer_rules_load(path, wish, &rules);
  if (err) return err;
  if (ends_with(path, ".json")) {
    err = open_json(path, &rules, out);
  } else {
    rules.bert = true; /* only BERT's tokenizers have such a file */
    err = sp_vocab_txt_open(path, &rules, out);
  }
  sp_tokenizer_rules_free(&rules);
  return err;
}

sp_err sp_tokenizer_open_for(const char *path, const sp_tokenizer_wish *wish,
                             sp_tokenizer **out) {
  *out = NULL;
  if (!sp_path_is_dir(path)) return open_file(path, wish, out);
  char *json = sp_path_join(path, "tokenizer.json");
  char *text = json ? sp_path_join(path, "vocab.txt") : NULL;
  sp_err err = SP_ENOMEM;
  if (text)
    err =
        open_file(!sp_path_exists(json) && sp_path_exists(text) ? text : json, wish, out);
  free(json);
  free(text);
  return err;
}

sp_err sp_tokenizer_open(const char *path, sp_tokenizer **out) {
  return sp_tokenizer_open_for(path, &(sp_tokenizer_wish){0}, out);
}
