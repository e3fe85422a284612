/* tests/test_tokenizer_golden.c - the same ids as the published tokenizers, text by text.
 *
 * SPINDLE_SHARED/golden/tokenizers (default ../shared) holds what Hugging Face
 * `tokenizers` 0.23.3 answered; skipped where it is not there. */
#include "tests/harness.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/file.h"
#include "base/json_scan.h"
#include "encoder/tokenizer.h"

static const char *shared(void) {
  const char *dir = getenv("SPINDLE_SHARED");
  return dir ? dir : "../shared";
}

static char *golden(const char *folder, const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/golden/tokenizers/%s/%s", shared(), folder, name);
  return path;
}

/* ---- reading the files ---- */

static char *decompress(const char *path, size_t *n) {
  sp_map map;
  assert_int_equal(sp_map_open(path, &map), SP_OK);
  unsigned long long size = ZSTD_getFrameContentSize(map.data, map.n);
  assert_true(size < (1ull << 30));
  char *out = malloc(size + 1);
  assert_non_null(out);
  *n = ZSTD_decompress(out, size, map.data, map.n);
  assert_int_equal(*n, size);
  out[size] = '\0';
  sp_map_close(&map);
  return out;
}

/* Lines {"id": n, "MEMBER": ...}, read one by one. */
typedef struct lines {
  char *all, *at, *end;
  sp_buf key, value;
} lines;

static lines open_lines(const char *path) {
  lines l = {0};
  size_t n;
  l.all = l.at = decompress(path, &n);
  l.end = l.all + n;
  return l;
}

/* Stands behind `member`'s name on the next line, whose "id" is *id. */
static bool next_line(lines *l, const char *member, uint32_t *id, sp_json_scan *s) {
  if (l->at >= l->end) return false;
  char *end = memchr(l->at, '\n', (size_t)(l->end - l->at));
  if (!end) end = l->end;
  *end = '\0';
  *s = sp_json_scan_begin(l->at, (size_t)(end - l->at));
  l->at = end + 1;
  bool first = true;
  const char *key;
  size_t n;
  double number;
  assert_true(sp_json_scan_member(s, &first, &l->key, &key, &n));
  assert_memory_equal(key, "id", 2);
  assert_true(sp_json_scan_number(s, &number));
  *id = (uint32_t)number;
  assert_true(sp_json_scan_member(s, &first, &l->key, &key, &n));
  assert_memory_equal(key, member, strlen(member));
  return true;
}

static void close_lines(lines *l) {
  free(l->all);
  sp_buf_free(&l->key);
  sp_buf_free(&l->value);
}

typedef struct texts {
  char **text;
  size_t *n;
  bool *real;
  uint32_t count;
} texts;

/* Kinds of real texts, by what their names begin with; the rest are constructed. */
static bool is_real(const char *kind) {
  static const char *const REAL[] = {"wiki ",    "claims",     "evidence ",
                                     "medical ", "community ", "xquad "};
  for (size_t i = 0; i < sizeof REAL / sizeof *REAL; i++)
    if (strncmp(kind, REAL[i], strlen(REAL[i])) == 0) return true;
  return false;
}

static void read_kinds(const char *family, texts *t) {
  FILE *f = fopen(golden(family, "kinds.tsv"), "r");
  assert_non_null(f);
  char line[512];
  while (fgets(line, sizeof line, f)) {
    unsigned first, last;
    char kind[256];
    if (sscanf(line, "%u\t%u\t%255[^\n]", &first, &last, kind) != 3) continue;
    for (unsigned i = first; i <= last && i < t->count; i++) t->real[i] = is_real(kind);
  }
  fclose(f);
}

static texts read_texts(const char *family) {
  texts t = {0};
  lines l = open_lines(golden(family, "texts.jsonl.zst"));
  uint32_t id;
  sp_json_scan s;
  while (next_line(&l, "text", &id, &s)) {
    assert_int_equal(id, t.count);
    const char *text;
    size_t n;
    assert_true(sp_json_scan_string(&s, &l.value, &text, &n));
    t.text = realloc(t.text, (t.count + 1) * sizeof *t.text);
    t.n = realloc(t.n, (t.count + 1) * sizeof *t.n);
    t.text[id] = malloc(n + 1);
    memcpy(t.text[id], text, n);
    t.n[id] = n;
    t.count++;
  }
  close_lines(&l);
  t.real = calloc(t.count, sizeof *t.real);
  read_kinds(family, &t);
  return t;
}

static void free_texts(texts *t) {
  for (uint32_t i = 0; i < t->count; i++) free(t->text[i]);
  free(t->text);
  free(t->n);
  free(t->real);
}

/* ---- comparing ---- */

typedef struct tally {
  unsigned n, equal, n_real, equal_real;
} tally;

static void count(tally *t, bool real, bool equal) {
  t->n++;
  t->equal += equal;
  t->n_real += real;
  t->equal_real += real && equal;
}

static bool same_ids(sp_json_scan *s, const sp_tokens *tokens) {
  bool same = true;
  uint32_t i = 0;
  for (bool first = true; sp_json_scan_element(s, &first); i++) {
    double id;
    assert_true(sp_json_scan_number(s, &id));
    same = same && i < tokens->n && tokens->ids[i] == (uint32_t)id;
  }
  return same && i == tokens->n;
}

static bool same_offsets(sp_json_scan *s, const sp_tokens *tokens) {
  bool same = true;
  uint32_t i = 0;
  for (bool first = true; sp_json_scan_element(s, &first); i++) {
    double at[2] = {-1, -1};
    int k = 0;
    for (bool inner = true; sp_json_scan_element(s, &inner); k++)
      assert_true(k < 2 && sp_json_scan_number(s, &at[k]));
    same = same && i < tokens->n && tokens->begin[i] == (uint32_t)at[0] &&
           tokens->end[i] == (uint32_t)at[1];
  }
  return same && i == tokens->n;
}

static tally compare(const sp_tokenizer *t, const texts *in, const char *folder,
                     const char *file, const char *member,
                     const sp_tokenize_options *options) {
  tally result = {0};
  sp_tokens tokens = {0};
  lines l = open_lines(golden(folder, file));
  uint32_t id;
  sp_json_scan s;
  while (next_line(&l, member, &id, &s)) {
    assert_true(id < in->count);
    assert_int_equal(sp_tokenizer_encode(t, in->text[id], in->n[id], options, &tokens),
                     SP_OK);
    bool equal = options->offsets ? same_offsets(&s, &tokens) : same_ids(&s, &tokens);
    if (!equal)
      printf("  %s %s: text %u%s differs\n", folder, file, id,
             in->real[id] ? " (real)" : "");
    count(&result, in->real[id], equal);
  }
  close_lines(&l);
  sp_tokens_free(&tokens);
  return result;
}

static sp_tokenizer *open_tokenizer(const char *folder) {
  char path[4096], link[1024] = "";
  snprintf(path, sizeof path, "%s", golden(folder, "tokenizer.json"));
  if (!sp_path_exists(path)) { /* kept elsewhere: a path from the folder above */
    FILE *f = fopen(golden(folder, "tokenizer.path"), "r");
    assert_non_null(f);
    assert_non_null(fgets(link, sizeof link, f));
    fclose(f);
    link[strcspn(link, "\r\n")] = '\0';
    snprintf(path, sizeof path, "%s/../%s", golden(folder, ""), link);
  }
  sp_tokenizer *t;
  if (sp_tokenizer_open(path, &t)) fail_msg("%s", sp_err_message());
  return t;
}

/* Holds one tokenizer to its golden files. The bar for ids: every real text, and 999 of
 * 1,000 of all; for spans every real text. */
static void hold(const char *family, const char *name) {
  char folder[256];
  snprintf(folder, sizeof folder, "%s/%s", family, name);
  if (!sp_path_is_dir(golden(folder, ""))) {
    printf("skipped: no %s\n", golden(folder, ""));
    skip();
  }
  texts in = read_texts(family);
  sp_tokenizer *t = open_tokenizer(folder);
  sp_tokenize_options whole = {.special_tokens = true};
  sp_tokenize_options cut = {.special_tokens = true, .max_length = 512};
  sp_tokenize_options spans = {.special_tokens = true, .offsets = true};
  tally ids = compare(t, &in, folder, "ids.jsonl.zst", "ids", &whole);
  tally ids_512 = compare(t, &in, folder, "ids-512.jsonl.zst", "ids", &cut);
  tally offsets = compare(t, &in, folder, "offsets.jsonl.zst", "offsets", &spans);
  printf("%s: ids %u of %u (real %u of %u), cut to 512 %u of %u, offsets %u of %u\n",
         folder, ids.equal, ids.n, ids.equal_real, ids.n_real, ids_512.equal, ids_512.n,
         offsets.equal, offsets.n);
  assert_true(ids.n == in.count && ids.n_real > 1000);
  assert_int_equal(ids.equal_real, ids.n_real);
  assert_true(ids.equal * 1000ull >= ids.n * 999ull);
  assert_true(ids_512.n > 0);
  assert_int_equal(ids_512.equal, ids_512.n);
  assert_int_equal(offsets.equal_real, offsets.n_real);
  sp_tokenizer_free(t);
  free_texts(&in);
}

#define HOLD(test, family, name)   \
  static void test(void **state) { \
    (void)state;                   \
    hold(family, name);            \
  }

HOLD(bert_base_uncased_gives_the_published_ids, "wordpiece", "bert-base-uncased")
HOLD(cased_wordpiece_gives_the_published_ids, "wordpiece", "small-cased")
HOLD(wordpiece_that_keeps_accents_gives_the_published_ids, "wordpiece", "small-accents")
HOLD(byte_level_bpe_of_the_older_layout_gives_the_published_ids, "bytelevel-bpe",
     "roberta")
HOLD(byte_level_bpe_with_a_prefix_space_gives_the_published_ids, "bytelevel-bpe",
     "roberta-prefix-space")
HOLD(byte_level_bpe_after_nfc_gives_the_published_ids, "bytelevel-bpe", "modernbert")
HOLD(bpe_with_byte_fallback_gives_the_published_ids, "sentencepiece-bpe",
     "mistral-7b-v0.1")
HOLD(unigram_gives_the_published_ids, "unigram", "xlmr")
HOLD(unigram_of_the_newer_layout_gives_the_published_ids, "unigram", "xlmr-converter")

/* ---- hostile files ---- */

static void expect_refused(const char *name, const char *part) {
  char path[4096];
  snprintf(path, sizeof path, "%s/golden/encoders/bad/%s/tokenizer.json", shared(), name);
  sp_tokenizer *t = (sp_tokenizer *)1;
  sp_err err = sp_tokenizer_open(path, &t);
  if (!err) fail_msg("%s opened", path);
  assert_null(t);
  const char *said = sp_err_message();
  printf("  %s\n", said);
  assert_non_null(strstr(said, "tokenizer.json"));
  assert_null(strchr(said, '\n'));
  if (!strstr(said, part)) fail_msg("\"%s\" does not say \"%s\"", said, part);
}

static void hostile_files_are_refused_in_one_sentence(void **state) {
  (void)state;
  char bad[4096];
  snprintf(bad, sizeof bad, "%s/golden/encoders/bad", shared());
  if (!sp_path_is_dir(bad)) {
    printf("skipped: no %s\n", bad);
    skip();
  }
  expect_refused("tokenizer-bad-utf8", "not valid UTF-8");
  expect_refused("tokenizer-deep", "depth");
  expect_refused("tokenizer-empty", "the file is empty");
  expect_refused("tokenizer-half", "end of file");
  expect_refused("tokenizer-id-twice", "have the same id 5");
  expect_refused("tokenizer-missing", "No such file");
  expect_refused("tokenizer-negative-id", "has the negative id");
  expect_refused("tokenizer-no-unk", "[UNK] is not in the vocabulary");
  expect_refused("tokenizer-no-vocab", "has no \"vocab\"");
  expect_refused("tokenizer-template-unknown-token", "[BOS]");
  expect_refused("tokenizer-unknown-model", "WordLevel is not supported");
  expect_refused("tokenizer-unknown-normalizer", "is not supported");
  expect_refused("tokenizer-unknown-pre-tokenizer", "is not supported");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bert_base_uncased_gives_the_published_ids),
      cmocka_unit_test(cased_wordpiece_gives_the_published_ids),
      cmocka_unit_test(wordpiece_that_keeps_accents_gives_the_published_ids),
      cmocka_unit_test(byte_level_bpe_of_the_older_layout_gives_the_published_ids),
      cmocka_unit_test(byte_level_bpe_with_a_prefix_space_gives_the_published_ids),
      cmocka_unit_test(byte_level_bpe_after_nfc_gives_the_published_ids),
      cmocka_unit_test(bpe_with_byte_fallback_gives_the_published_ids),
      cmocka_unit_test(unigram_gives_the_published_ids),
      cmocka_unit_test(unigram_of_the_newer_layout_gives_the_published_ids),
      cmocka_unit_test(hostile_files_are_refused_in_one_sentence),
  };
  return cmocka_run_group_tests_name("tokenizer_golden", tests, NULL, NULL);
}
