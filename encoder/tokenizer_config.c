/* encoder/tokenizer_config.c - what a model's other files say about its tokenizer.
 *
 * transformers' BERT tokenizers (BertTokenizerFast of version 4, BertTokenizer of 5) take
 * three settings of the normalizer from tokenizer_config.json, with defaults of their own,
 * whatever tokenizer.json says. sentence-transformers' do_lower_case puts a Lowercase
 * before the normalizer. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "encoder/tokenizer_parts.h"

static bool is_bert_class(const char *name) {
  static const char *const NAMES[] = {"BertTokenizer", "BertTokenizerFast",
                                      "DistilBertTokenizer", "DistilBertTokenizerFast"};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
    if (!strcmp(NAMES[i], name)) return true;
  return false;
}

static sp_err read_rules(const json_t *o, const char *where, bool bert,
                         sp_tokenizer_rules *r) {
  const char *class_ = NULL;
  sp_err err = sp_json_get_string(o, "tokenizer_class", where, &class_);
  r->bert = class_ ? is_bert_class(class_) : bert;
  r->lowercase = r->chinese = true;
  if (!err) err = sp_json_get_bool(o, "do_lower_case", where, &r->lowercase);
  r->accents = r->lowercase; /* null: as lowercase */
  if (!err) err = sp_json_get_bool(o, "strip_accents", where, &r->accents);
  if (!err) err = sp_json_get_bool(o, "tokenize_chinese_chars", where, &r->chinese);
  return err;
}

sp_err sp_tokenizer_rules_load(const char *path, const sp_tokenizer_wish *wish,
                               sp_tokenizer_rules *r) {
  *r = (sp_tokenizer_rules){.lower_first = wish->lowercase};
  const char *slash = strrchr(path, '/');
  r->dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  if (!r->dir) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  sp_err err =
      sp_json_load_beside(r->dir, "tokenizer_config.json", true, &r->where, &r->config);
  if (!err) err = read_rules(r->config, r->where, wish->bert, r);
  if (err) sp_tokenizer_rules_free(r);
  return err;
}

void sp_tokenizer_rules_free(sp_tokenizer_rules *r) {
  json_decref(r->config);
  free(r->where);
  free(r->dir);
  *r = (sp_tokenizer_rules){0};
}

static bool is_type(const json_t *o, const char *type) {
  const char *own = json_string_value(json_object_get(o, "type"));
  return own && !strcmp(own, type);
}

/* One setting as encoder/normalizer.c reads it; a fault is left for it to tell. */
static bool setting(const json_t *o, const char *key, bool fallback) {
  const json_t *v = json_object_get(o, key);
  return json_is_boolean(v) ? json_is_true(v) : fallback;
}

/* Leaves a normalizer that says the same already as it is: its hash counts. */
static int apply_bert(const sp_tokenizer_rules *r, json_t **z, bool *changed) {
  if (!*z || json_is_null(*z)) {
    json_decref(*z);
    *z = json_pack("{s:s}", "type", "BertNormalizer");
    if (!*z) return -1;
    *changed = true;
  }
  bool lowercase = setting(*z, "lowercase", true);
  if (!is_type(*z, "BertNormalizer") ||
      (lowercase == r->lowercase &&
       setting(*z, "strip_accents", lowercase) == r->accents &&
       setting(*z, "handle_chinese_chars", true) == r->chinese))
    return 0;
  *changed = true;
  int failed = json_object_set_new(*z, "lowercase", json_boolean(r->lowercase));
  failed |= json_object_set_new(*z, "strip_accents", json_boolean(r->accents));
  return failed |
         json_object_set_new(*z, "handle_chinese_chars", json_boolean(r->chinese));
}

/* Lower-casing twice changes nothing, before BERT's steps or after them. */
static bool lowers(const json_t *z) {
  if (is_type(z, "Lowercase")) return true;
  if (is_type(z, "BertNormalizer")) return setting(z, "lowercase", true);
  const json_t *steps = json_object_get(z, "normalizers"), *step;
  size_t i;
  json_array_foreach(steps, i, step) {
    if (is_type(step, "Lowercase")) return true;
  }
  return false;
}

static int lower_first(json_t **z, bool *changed) {
  if (lowers(*z)) return 0;
  json_t *steps = json_pack("[{s:s}]", "type", "Lowercase");
  if (!steps) return -1;
  int failed = *z && !json_is_null(*z) ? json_array_append(steps, *z) : 0;
  json_t *sequence = json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", steps);
  if (!sequence) return -1;
  json_decref(*z);
  *z = sequence;
  *changed = true;
  return failed;
}

sp_err sp_tokenizer_rules_apply(const sp_tokenizer_rules *r, json_t **normalizer,
                                bool *changed, const char *where) {
  *changed = false;
  int failed = r->bert ? apply_bert(r, normalizer, changed) : 0;
  if (!failed && r->lower_first) failed = lower_first(normalizer, changed);
  return failed ? sp_fail(SP_ENOMEM, "%s: out of memory", where) : SP_OK;
}
