/* encoder/tokenizer_config.c - what a model's other files say about its tokenizer.
 *
 * transformers' BERT tokenizers (BertTokenizerFast of version 4, BertTokenizer of 5) take
 * three settings of the normalizer from tokenizer_config.json, with defaults of their own,
 * whatever tokenizer.json says. sentence-transformers' do_lower_case puts a Lowercase
 * before the normalizer. RoBERTa's classes take add_prefix_space from there. Every class
 * adds the tokens of added_tokens_decoder, or gives them its flags. */
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
  r->roberta = class_ && (!strcmp(class_, "RobertaTokenizer") ||
                          !strcmp(class_, "RobertaTokenizerFast"));
  if (!err) err = sp_json_get_bool(o, "add_prefix_space", where, &r->prefix_space);
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

sp_err sp_tokenizer_rules_normalizer(const sp_tokenizer_rules *r, json_t **normalizer,
                                     bool *changed, const char *where) {
  *changed = false;
  int failed = r->bert ? apply_bert(r, normalizer, changed) : 0;
  if (!failed && r->lower_first) failed = lower_first(normalizer, changed);
  return failed ? sp_fail(SP_ENOMEM, "%s: out of memory", where) : SP_OK;
}

sp_err sp_tokenizer_rules_pretokenizer(const sp_tokenizer_rules *r, json_t *pre,
                                       bool *changed, const char *where) {
  *changed = r->roberta && is_type(pre, "ByteLevel") &&
             setting(pre, "add_prefix_space", true) != r->prefix_space;
  if (!*changed) return SP_OK;
  int failed =
      json_object_set_new(pre, "add_prefix_space", json_boolean(r->prefix_space));
  return failed ? sp_fail(SP_ENOMEM, "%s: out of memory", where) : SP_OK;
}

/* The spelling of tokenizer_config.json's NAME, a string or an added token; NULL: none. */
static const char *named_token(const json_t *config, const char *name) {
  const json_t *v = json_object_get(config, name);
  return json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
}

static sp_err need_token(const sp_tokenizer_rules *r, const sp_tokenizer *t,
                         const char *name, uint32_t id) {
  const char *named = named_token(r->config, name);
  size_t n = 0;
  const char *own = sp_vocab_token(&t->vocab, id, &n);
  if (!named || !own || (strlen(named) == n && !memcmp(named, own, n))) return SP_OK;
  return sp_fail(SP_EFORMAT, "%s: the %s is %.60s, tokenizer.json has %.*s in its place",
                 r->where, name, named, (int)(n < 60 ? n : 60), own);
}

sp_err sp_tokenizer_rules_check(const sp_tokenizer_rules *r, const sp_tokenizer *t) {
  const sp_postprocessor *p = &t->post;
  if (!r->bert || t->kind != SP_MODEL_WORDPIECE) return SP_OK;
  sp_err err = need_token(r, t, "unk_token", t->wordpiece.unk);
  if (!err && p->n_before == 1) err = need_token(r, t, "cls_token", p->before[0]);
  if (!err && p->n_after == 1) err = need_token(r, t, "sep_token", p->after[0]);
  return err;
}

static json_t *find_added(const json_t *added, const json_t *content) {
  json_t *token;
  size_t i;
  json_array_foreach(added, i, token) {
    if (json_equal(json_object_get(token, "content"), content)) return token;
  }
  return NULL;
}

/* What encoder/added_tokens.c reads of a flag. */
static bool flag(const json_t *token, const char *name) {
  bool fallback = !strcmp(name, "normalized") && !setting(token, "special", false);
  return setting(token, name, fallback);
}

static int give_flags(const json_t *from, json_t *to, bool *changed) {
  static const char *const FLAGS[] = {"normalized", "special", "single_word", "lstrip",
                                      "rstrip"};
  bool wanted[sizeof FLAGS / sizeof *FLAGS], same = true;
  for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
    wanted[i] = flag(from, FLAGS[i]);
    same &= wanted[i] == flag(to, FLAGS[i]);
  }
  if (same) return 0;
  *changed = true;
  int failed = 0;
  for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++)
    failed |= json_object_set_new(to, FLAGS[i], json_boolean(wanted[i]));
  return failed;
}

/* What is no number or no object is refused where added tokens are read. */
static int append_token(const char *id, const json_t *facts, json_t *added) {
  char *end;
  long long n = strtoll(id, &end, 10);
  json_t *token = json_deep_copy(facts);
  int failed = 0;
  if (json_is_object(token))
    failed =
        json_object_set_new(token, "id", *id && !*end ? json_integer(n) : json_null());
  return failed | json_array_append_new(added, token);
}

sp_err sp_tokenizer_rules_added(const sp_tokenizer_rules *r, json_t **added,
                                bool *changed, const char *where) {
  *changed = false;
  json_t *decoder = json_object_get(r->config, "added_tokens_decoder");
  if (!json_object_size(decoder)) return SP_OK;
  if (!*added) *added = json_array();
  const char *id;
  json_t *facts;
  int failed = !*added;
  json_object_foreach(decoder, id, facts) {
    json_t *token = find_added(*added, json_object_get(facts, "content"));
    if (token) {
      failed |= give_flags(facts, token, changed);
    } else {
      failed |= append_token(id, facts, *added);
      *changed = true;
    }
  }
  return failed ? sp_fail(SP_ENOMEM, "%s: out of memory", where) : SP_OK;
}
