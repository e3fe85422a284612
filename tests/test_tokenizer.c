/* tests/test_tokenizer.c - each part of a tokenizer, on small ones written here. */
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/tokenizer.h"

/* ---- saying what is expected ---- */

/* Single quotes stand for double ones, so that JSON stays readable in C. */
static char *unquote(const char *s) {
  char *json = strdup(s);
  assert_non_null(json);
  for (char *c = json; *c; c++)
    if (*c == '\'') *c = '"';
  return json;
}

static sp_tokenizer *parse(const char *quoted) {
  char *json = unquote(quoted);
  sp_tokenizer *t;
  if (sp_tokenizer_parse(json, strlen(json), "test", &t))
    fail_msg("%s", sp_err_message());
  free(json);
  return t;
}

static void expect_refused(const char *quoted, const char *part) {
  char *json = unquote(quoted);
  sp_tokenizer *t = (sp_tokenizer *)1;
  assert_int_equal(sp_tokenizer_parse(json, strlen(json), "test", &t), SP_EFORMAT);
  assert_null(t);
  if (!strstr(sp_err_message(), part))
    fail_msg("\"%s\" does not say \"%s\"", sp_err_message(), part);
  free(json);
}

/* The tokens' spellings, joined by blanks; with spans "spelling:begin-end". */
static char *spell(const sp_tokenizer *t, const char *text, size_t n,
                   sp_tokenize_options options) {
  static char out[1024];
  sp_tokens tokens = {0};
  assert_int_equal(sp_tokenizer_encode(t, text, n, &options, &tokens), SP_OK);
  size_t at = 0;
  out[0] = '\0';
  for (uint32_t i = 0; i < tokens.n; i++) {
    size_t length;
    const char *token = sp_tokenizer_token(t, tokens.ids[i], &length);
    assert_non_null(token);
    at += (size_t)snprintf(out + at, sizeof out - at, "%s%s", i ? " " : "", token);
    if (options.offsets)
      at += (size_t)snprintf(out + at, sizeof out - at, ":%u-%u", tokens.begin[i],
                             tokens.end[i]);
    assert_true(at < sizeof out);
  }
  sp_tokens_free(&tokens);
  return out;
}

static void expect(const char *json, const char *text, const char *tokens) {
  sp_tokenizer *t = parse(json);
  sp_tokenize_options options = {.special_tokens = true};
  assert_string_equal(spell(t, text, strlen(text), options), tokens);
  sp_tokenizer_free(t);
}

static void expect_spans(const char *json, const char *text, const char *tokens) {
  sp_tokenizer *t = parse(json);
  sp_tokenize_options options = {.special_tokens = true, .offsets = true};
  assert_string_equal(spell(t, text, strlen(text), options), tokens);
  sp_tokenizer_free(t);
}

/* ---- WordPiece and BERT's parts ---- */

#define WORDS(vocab) "'model':{'type':'WordPiece','unk_token':'?','vocab':{" vocab "}}"
#define BERT(flags, vocab)                       \
  "{'normalizer':{'type':'BertNormalizer'" flags \
  "},"                                           \
  "'pre_tokenizer':{'type':'BertPreTokenizer'}," WORDS(vocab) "}"
#define LETTERS "'?':0,'a':1,'A':2,'é':3,'e':4,'ab':5,'##c':6,'##cd':7,'.':8,'中':9"

static void longest_pieces_come_first(void **state) {
  (void)state;
  expect(BERT("", LETTERS), "abcdc", "ab ##cd ##c");
  expect(BERT("", LETTERS), "abx ab", "? ab");
}

static void bert_flags_decide(void **state) {
  (void)state;
  expect(BERT("", LETTERS), "A É a.", "a e a .");
  expect(BERT(",'lowercase':false", LETTERS), "A É é", "A ? é");
  expect(BERT(",'strip_accents':false", LETTERS), "É", "é");
  expect(BERT(",'lowercase':false,'strip_accents':true", LETTERS), "Aé", "?");
  expect(BERT(",'lowercase':false,'strip_accents':true", LETTERS), "A é", "A e");
  expect(BERT("", LETTERS), "a中a", "a 中 a");
  expect(BERT(",'handle_chinese_chars':false", LETTERS), "a中a", "?");
  expect(BERT("", LETTERS),
         "a\x01"
         "bc",
         "ab ##c");
  expect(BERT(",'clean_text':false", LETTERS),
         "a\x01"
         "bc",
         "?");
}

static void long_words_are_unknown(void **state) {
  (void)state;
  const char *json =
      "{'model':{'type':'WordPiece','unk_token':'?','max_input_chars_per_word':3,"
      "'continuing_subword_prefix':'@','vocab':{'?':0,'é':1,'@é':2}}}";
  expect(json, "ééé", "é @é @é");
  expect(json, "éééé", "?");
}

static void spans_are_bytes_of_the_original(void **state) {
  (void)state;
  expect_spans(BERT("", LETTERS),
               " É\xc2\xad"
               "abc.",
               "?:1-8 .:8-9");
  expect_spans(BERT("", LETTERS), "É 中", "e:0-2 中:3-6");
}

static void invalid_utf8_counts_as_u_fffd(void **state) {
  (void)state;
  /* which BERT's clean_text removes */
  expect_spans(BERT("", LETTERS),
               "a\xff"
               "bc\xe4\xb8",
               "ab:0-3 ##c:3-4");
  expect(
      "{'pre_tokenizer':{'type':'WhitespaceSplit'}," WORDS("'?':0,'\xef\xbf\xbd':1") "}",
      "\xff", "\xef\xbf\xbd");
}

/* ---- added tokens ---- */

#define ADDED(flags)                                                                     \
  "{'added_tokens':[{'id':9,'content':'<x>'" flags                                       \
  "}],"                                                                                  \
  "'normalizer':{'type':'Lowercase'},'pre_tokenizer':{'type':'WhitespaceSplit'}," WORDS( \
      "'?':0,'a':1,'b':2") "}"

static void added_tokens_are_cut_out(void **state) {
  (void)state;
  expect_spans(ADDED(""), "a <x>b", "a:0-1 <x>:2-5 b:5-6");
  expect_spans(ADDED(",'lstrip':true"), "a  <x> b", "a:0-1 <x>:1-6 b:7-8");
  expect_spans(ADDED(",'rstrip':true"), "a <x>  b", "a:0-1 <x>:2-7 b:7-8");
  expect(ADDED(",'single_word':true"), "<x> a<x>", "<x> ?");
  expect(ADDED(",'normalized':false"), "<X> <x>", "? <x>");
  expect(ADDED(",'normalized':true"), "<X> <x>", "<x> <x>");
}

static void of_two_added_tokens_the_longer_counts(void **state) {
  (void)state;
  expect("{'added_tokens':[{'id':1,'content':'##'},{'id':2,'content':'###'}]," WORDS(
             "'?':0") "}",
         "#####", "### ##");
}

static void an_empty_added_token_is_never_found(void **state) {
  (void)state;
  expect(
      "{'added_tokens':[{'id':9,'content':''},{'id':8,'content':'b'}],"
      "'normalizer':{'type':'NFC'},'pre_tokenizer':{'type':'WhitespaceSplit'}," WORDS(
          "'?':0,'a':1") "}",
      "a ab", "a a b");
}

static void special_tokens_are_known(void **state) {
  (void)state;
  sp_tokenizer *t = parse(ADDED(",'special':true"));
  assert_int_equal(sp_tokenizer_n_ids(t), 10);
  assert_true(sp_tokenizer_is_special(t, 9));
  assert_false(sp_tokenizer_is_special(t, 1));
  assert_int_equal(sp_tokenizer_find(t, "<x>", 3), 9);
  assert_int_equal(sp_tokenizer_find(t, "<y>", 3), UINT32_MAX);
  size_t n;
  assert_null(sp_tokenizer_token(t, 5, &n));
  sp_tokenizer_free(t);
}

/* ---- normalizers: seen through a model that knows each character ---- */

#define CHARS                                                                           \
  "'model':{'type':'BPE','unk_token':'?','merges':[],'vocab':{'?':0,'a':1,'b':2,'e':3," \
  "'é':4,'\xcc\x81':5,'_':6,' ':7,'f':8,'i':9,'ﬁ':10,'가':11,'ᄀ':12,'ᅡ':13,'▁':14}}"
#define NORMALIZED(n) "{'normalizer':" n "," CHARS "}"

static void forms_compose_and_decompose(void **state) {
  (void)state;
  expect(NORMALIZED("{'type':'NFC'}"),
         "e\xcc\x81"
         "가ﬁ",
         "é 가 ﬁ");
  expect(NORMALIZED("{'type':'NFC'}"), "가", "가");
  expect(NORMALIZED("{'type':'NFD'}"), "é가ﬁ", "e \xcc\x81 ᄀ ᅡ ﬁ");
  expect(NORMALIZED("{'type':'NFKC'}"), "e\xcc\x81ﬁ", "é f i");
  expect(NORMALIZED("{'type':'NFKD'}"), "éﬁ", "e \xcc\x81 f i");
  expect_spans(NORMALIZED("{'type':'NFC'}"),
               "ae\xcc\x81"
               "b",
               "a:0-1 é:1-2 b:4-5");
}

static void small_normalizers_do_as_they_say(void **state) {
  (void)state;
  expect(NORMALIZED("{'type':'Lowercase'}"), "AÉ", "a é");
  expect(NORMALIZED("{'type':'StripAccents'}"), "e\xcc\x81é", "e é");
  expect(NORMALIZED("{'type':'Strip'}"), " a ", "a");
  expect(NORMALIZED("{'type':'Strip','strip_left':false}"), " a ", "  a");
  expect(NORMALIZED("{'type':'Strip','strip_right':false}"), " a ", "a  ");
  expect(NORMALIZED("{'type':'Prepend','prepend':'_'}"), "a", "_ a");
  expect(NORMALIZED("{'type':'Prepend','prepend':'_'}"), "", "");
  expect(NORMALIZED("{'type':'Replace','pattern':{'String':'ab'},'content':'_'}"), "aabb",
         "a _ b");
  expect(NORMALIZED("{'type':'Replace','pattern':{'Regex':' {2,}'},'content':'_'}"),
         "a b   a", "a   b _ a");
  expect(NORMALIZED("{'type':'Sequence','normalizers':[{'type':'NFD'},"
                    "{'type':'StripAccents'},{'type':'Lowercase'}]}"),
         "É", "e");
}

/* A map of one entry, "A" to "b", as Darts-clone would lay it out: base64 of a trie of 67
 * units (unit 0: offset 1; unit 1 ^ 'A': label 'A', with a value, offset 2; that ^ 2: the
 * value 0), and "b\0". */
static char *one_entry_map(void) {
  static const char ALPHABET[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  enum { UNITS = 68, BYTES = 4 + 4 * UNITS + 2 };
  unsigned char raw[BYTES + 2] = {0};
  uint32_t units[UNITS] = {0};
  units[0] = 1u << 10;
  units[1 ^ 'A'] = 'A' | 1u << 8 | 2u << 10;
  units[1 ^ 'A' ^ 2] = 1u << 31;
  uint32_t bytes = sizeof units;
  for (int k = 0; k < 4; k++) raw[k] = (unsigned char)(bytes >> (8 * k));
  for (int i = 0; i < UNITS; i++)
    for (int k = 0; k < 4; k++) raw[4 + 4 * i + k] = (unsigned char)(units[i] >> (8 * k));
  raw[BYTES - 2] = 'b';
  static char out[(BYTES + 2) / 3 * 4 + 1];
  size_t n = 0;
  for (size_t i = 0; i < BYTES; i += 3) {
    uint32_t three = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];
    for (int shift = 18; shift >= 0; shift -= 6) out[n++] = ALPHABET[three >> shift & 63];
  }
  for (size_t over = (3 - BYTES % 3) % 3; over > 0; over--) out[n - over] = '=';
  return out;
}

static void precompiled_takes_the_shortest_prefix_and_drops_the_rest(void **state) {
  (void)state;
  char json[2048];
  snprintf(json, sizeof json,
           NORMALIZED("{'type':'Precompiled','precompiled_charsmap':'%s'}"),
           one_entry_map());
  expect(json, "aA", "a b");
  expect(json,
         "A\xcc\x81"
         "a",
         "b a"); /* one cluster: its accent is lost */
  expect(json, "e\xcc\x81", "e \xcc\x81");
}

/* ---- pre-tokenizers ---- */

#define META(flags)                                                                        \
  "{'pre_tokenizer':{'type':'Metaspace'" flags                                             \
  "},"                                                                                     \
  "'added_tokens':[{'id':5,'content':'<x>','special':true}],"                              \
  "'model':{'type':'Unigram','unk_id':0,'vocab':[['?',0],['▁a',-1],['b',-1],['a',-1.5]," \
  "['▁',-3]]}}"

static void metaspace_prepends_by_its_scheme(void **state) {
  (void)state;
  expect(META(""), "a b", "▁a ▁ b");
  expect(META(",'prepend_scheme':'never'"), "a a", "a ▁a");
  expect(META(",'add_prefix_space':false,'str_rep':'▁'"), "a", "a");
  expect(META(",'prepend_scheme':'first'"), "a<x>a", "▁a <x> a");
  expect(META(",'prepend_scheme':'always'"), "a<x>a", "▁a <x> ▁a");
  expect_spans(META(""), "a b", "▁a:0-1 ▁:1-2 b:2-3");
}

/* The apostrophes in it are its own, so it is not unquoted by the helper. */
static const char CONTRACTION[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"'\":1,\"s\":2,\"'s\":3,\"as\":4,"
    "\"S\":5},\"merges\":[\"' s\",\"a s\"]}}";

#define GPT2(flags)                                                            \
  "{'pre_tokenizer':{'type':'ByteLevel'" flags                                 \
  "},'model':{'type':'BPE','vocab':{'a':0,"                                    \
  "'b':1,'Ġ':2,'Ġa':3,'ab':4,'Ã':5,'©':6,'1':7,'Ċ':8,'aĠ':9,'ĠĠ':10}," \
  "'merges':['Ġ a','a b',['a','Ġ'],'Ġ Ġ']}}"

static void byte_level_splits_as_gpt2_did(void **state) {
  (void)state;
  expect(GPT2(""), "ab a", "Ġa b Ġa");
  expect(GPT2(",'add_prefix_space':false"), "ab a", "ab Ġa");
  expect(GPT2(",'add_prefix_space':false"), "a   a", "a ĠĠ Ġa");
  expect(GPT2(",'add_prefix_space':false"), "a\na1é", "a Ċ a 1 Ã ©");
  /* Without the regex, a blank may join what precedes it. */
  expect(GPT2(",'add_prefix_space':false,'use_regex':false"), "a b", "aĠ b");

  sp_tokenizer *t;
  assert_int_equal(sp_tokenizer_parse(CONTRACTION, strlen(CONTRACTION), "test", &t),
                   SP_OK);
  sp_tokenize_options plain = {0};
  assert_string_equal(spell(t, "a's'S", 5, plain), "a 's ' S");
  sp_tokenizer_free(t);
}

/* ---- models ---- */

static void merges_go_by_rank_from_the_left(void **state) {
  (void)state;
  const char *json =
      "{'model':{'type':'BPE','vocab':{'a':0,'b':1,'c':2,'bc':3,'ab':4,'aa':5},"
      "'merges':['b c','a b','a a']}}";
  expect(json, "abc", "a bc");
  expect(json, "abab", "ab ab");
  expect(json, "aaa", "aa a");
}

static void many_symbols_merge_as_few_do(void **state) {
  (void)state;
  /* A word too long for the short way, cut by an unknown character into short ones. */
  const char *json =
      "{'model':{'type':'BPE','unk_token':'?','vocab':{'?':0,'a':1,'b':2,'ab':3,'ba':4,"
      "'abab':5,'aba':6,'bb':7},'merges':['a b','b a','ab ab','ab a','b b']}}";
  sp_tokenizer *t = parse(json);
  sp_tokenize_options plain = {0};
  sp_tokens few = {0}, many = {0};
  unsigned seed = 7;
  for (int round = 0; round < 200; round++) {
    char word[31], text[31 * 40];
    size_t n = 0, length = 1 + (size_t)round % 30;
    for (size_t i = 0; i < length; i++) {
      seed = seed * 1103515245u + 12345u;
      word[i] = seed >> 16 & 1 ? 'a' : 'b';
    }
    assert_int_equal(sp_tokenizer_encode(t, word, length, &plain, &few), SP_OK);
    for (int k = 0; k < 35; k++) {
      memcpy(text + n, word, length);
      n += length;
      text[n++] = 'x';
    }
    assert_int_equal(sp_tokenizer_encode(t, text, n, &plain, &many), SP_OK);
    assert_int_equal(many.n, 35 * (few.n + 1));
    for (uint32_t i = 0; i < many.n; i++) {
      uint32_t within = i % (few.n + 1);
      assert_int_equal(many.ids[i], within < few.n ? few.ids[within] : 0);
    }
  }
  sp_tokens_free(&few);
  sp_tokens_free(&many);
  sp_tokenizer_free(t);
}

#define UNKNOWN(flags) \
  "{'model':{'type':'BPE'" flags ",'vocab':{'?':0,'a':1},'merges':[]}}"

static void unknown_characters_go_by_the_flags(void **state) {
  (void)state;
  expect(UNKNOWN(""), "axya", "a a");
  expect(UNKNOWN(",'unk_token':'?'"), "axya", "a ? ? a");
  expect(UNKNOWN(",'unk_token':'?','fuse_unk':true"), "axya", "a ? a");
}

static void byte_fallback_spells_bytes(void **state) {
  (void)state;
  char json[8192], *at = json;
  at += sprintf(at,
                "{'model':{'type':'BPE','byte_fallback':true,'unk_token':'?',"
                "'merges':[],'vocab':{'?':0,'a':1");
  for (int b = 0; b < 256; b++) at += sprintf(at, ",'<0x%02X>':%d", b, 2 + b);
  sprintf(at, "}}}");
  expect_spans(json, "aé", "a:0-1 <0xC3>:1-3 <0xA9>:1-3");
}

static void affixes_and_whole_words(void **state) {
  (void)state;
  expect(
      "{'pre_tokenizer':{'type':'WhitespaceSplit'},'model':{'type':'BPE',"
      "'continuing_subword_prefix':'##','end_of_word_suffix':'$','vocab':{'a':0,"
      "'##b':1,'##c$':2,'ab':3,'abc$':4},'merges':['a ##b','ab ##c$']}}",
      "abc", "abc$");
  expect(
      "{'model':{'type':'BPE','ignore_merges':true,'vocab':{'a':0,'b':1,'ab':2},"
      "'merges':[]}}",
      "ab", "ab");
}

static void texts_are_cut_only_where_no_merge_reaches(void **state) {
  (void)state;
  expect(
      "{'model':{'type':'BPE','vocab':{'a':0,'▁':1,'▁a':2,'▁▁':3},"
      "'merges':['▁ ▁','▁ a']}}",
      "▁a▁▁a▁a", "▁a ▁▁ a ▁a");
  expect("{'model':{'type':'BPE','vocab':{'a':0,'▁':1,'a▁':2},'merges':['a ▁']}}", "a▁a",
         "a▁ a");
}

static void unigram_takes_the_likeliest_way(void **state) {
  (void)state;
  const char *json =
      "{'model':{'type':'Unigram','unk_id':0,'vocab':[['?',0],['a',-2],['b',-2],"
      "['ab',-3.5],['aba',-7]]}}";
  expect(json, "aba", "ab a");
  expect(json, "axyb", "a ? b");
  expect_spans(json, "axyb", "a:0-1 ?:1-3 b:3-4");
  expect(
      "{'model':{'type':'Unigram','unk_id':0,'vocab':[['?',0],['a',-1],['b',-1],"
      "['ab',-2]]}}",
      "ab", "ab"); /* equal sums: the first found stays */
}

/* ---- post-processors and options ---- */

#define AROUND(post)                                           \
  "{'added_tokens':[{'id':1,'content':'<s>','special':true},"  \
  "{'id':2,'content':'</s>','special':true}],'pre_tokenizer':" \
  "{'type':'WhitespaceSplit'},'post_processor':" post "," WORDS("'?':0,'a':3") "}"
#define CLS_SEP "'cls':['<s>',1],'sep':['</s>',2]"

static const char TEMPLATE[] = AROUND(
    "{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'<s>',"
    "'type_id':0}},{'Sequence':{'id':'A','type_id':0}}],'special_tokens':{'<s>':"
    "{'id':'<s>','ids':[1],'tokens':['<s>']}}}");

static void post_processors_put_special_tokens_around(void **state) {
  (void)state;
  expect(TEMPLATE, "a", "<s> a");
  expect(AROUND("{'type':'BertProcessing'," CLS_SEP "}"), "a", "<s> a </s>");
  expect(AROUND("{'type':'RobertaProcessing'," CLS_SEP "}"), "", "<s> </s>");
  expect(AROUND("{'type':'Sequence','processors':[{'type':'ByteLevel'},"
                "{'type':'BertProcessing'," CLS_SEP "}]}"),
         "a", "<s> a </s>");
  expect(AROUND("null"), "a", "a");
}

static void options_cut_and_leave_out(void **state) {
  (void)state;
  sp_tokenizer *t = parse(AROUND("{'type':'BertProcessing'," CLS_SEP "}"));
  sp_tokenize_options options = {0};
  assert_string_equal(spell(t, "a a a", 5, options), "a a a");
  options.max_length = 2;
  assert_string_equal(spell(t, "a a a", 5, options), "a a");
  options.special_tokens = true;
  assert_string_equal(spell(t, "a a a", 5, options), "<s> </s>");
  options.max_length = 4;
  assert_string_equal(spell(t, "a a a", 5, options), "<s> a a </s>");
  options.max_length = 1;
  assert_string_equal(spell(t, "a a a", 5, options), "<s>");
  sp_tokenizer_free(t);
}

static void a_files_own_truncation_does_not_count(void **state) {
  (void)state;
  expect(
      "{'truncation':{'max_length':1},'padding':{'length':9},'pre_tokenizer':"
      "{'type':'WhitespaceSplit'}," WORDS("'?':0,'a':1") "}",
      "a a", "a a");
}

/* ---- the rest ---- */

static void saving_gives_the_same_tokenizer(void **state) {
  (void)state;
  static const char *const ALL[] = {TEMPLATE, META(""), GPT2(""), BERT("", LETTERS)};
  for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) {
    sp_tokenizer *t = parse(ALL[i]), *again;
    sp_buf saved = {0};
    assert_int_equal(sp_tokenizer_save(t, &saved), SP_OK);
    assert_int_equal(sp_tokenizer_parse(saved.data, saved.n, "saved", &again), SP_OK);
    assert_true(sp_tokenizer_hash(t) == sp_tokenizer_hash(again));
    sp_buf_free(&saved);
    sp_tokenizer_free(t);
    sp_tokenizer_free(again);
  }
}

static void the_hash_tells_tokenizers_apart(void **state) {
  (void)state;
  sp_tokenizer *a = parse(BERT("", LETTERS));
  sp_tokenizer *b = parse(BERT(",'lowercase':false", LETTERS));
  sp_tokenizer *c = parse(BERT("", LETTERS ",'new':10"));
  assert_true(sp_tokenizer_hash(a) != sp_tokenizer_hash(b));
  assert_true(sp_tokenizer_hash(a) != sp_tokenizer_hash(c));
  sp_tokenizer_free(a);
  sp_tokenizer_free(b);
  sp_tokenizer_free(c);
}

/* Long texts, so that words are remembered too. */
static void one_scratch_serves_several_tokenizers(void **state) {
  (void)state;
  enum { N_WORDS = 500 };
  sp_tokenizer *a = parse(BERT("", "'?':0,'ab':1"));
  sp_tokenizer *b = parse(BERT("", "'?':0,'ab':2"));
  sp_tokenize_options plain = {0};
  sp_tokens tokens = {0};
  char text[3 * N_WORDS];
  for (size_t i = 0; i < sizeof text; i++) text[i] = "ab "[i % 3];
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(
        sp_tokenizer_encode(i % 2 ? b : a, text, sizeof text, &plain, &tokens), SP_OK);
    assert_int_equal(tokens.n, N_WORDS);
    for (uint32_t k = 0; k < tokens.n; k++) assert_int_equal(tokens.ids[k], 1 + i % 2);
  }
  sp_tokens_free(&tokens);
  sp_tokenizer_free(a);
  sp_tokenizer_free(b);
}

static void vocab_txt_has_berts_uncased_rules(void **state) {
  (void)state;
  char path[] = "/tmp/spindle-vocab-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  FILE *f = fdopen(fd, "w");
  assert_non_null(f);
  fputs("[PAD]\n[UNK]\n[CLS]\n[SEP]\ncafe\n##s\n\"\n", f);
  fclose(f);
  sp_tokenizer *t;
  assert_int_equal(sp_tokenizer_open(path, &t), SP_OK);
  sp_tokenize_options options = {.special_tokens = true};
  assert_string_equal(spell(t, "Cafés \"x", 9, options), "[CLS] cafe ##s \" [UNK] [SEP]");
  sp_tokenizer_free(t);
  f = fopen(path, "a");
  fputs("cafe\n", f);
  fclose(f);
  assert_int_equal(sp_tokenizer_open(path, &t), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), ":8: the token \"cafe\" is there twice"));
  remove(path);
}

static void faulty_files_are_refused_by_name(void **state) {
  (void)state;
  expect_refused("[]", "must be a JSON object");
  expect_refused("{}", "\"model\" is missing");
  expect_refused("{'model':{'vocab':{'a'", "not JSON: end of file, expected ':'");
  expect_refused("{" WORDS("'?':0") "}}", "expected the end of the file (at byte ");
  expect_refused("{" WORDS("'?':0,'\\x':1") "}", "an unknown escape");
  expect_refused("{'normalizer':{'type':'\\x'}," CHARS "}", "\"normalizer\": its value");
  expect_refused("{" WORDS("'?':0,'a':9223372036854775808") "}", "no whole number");
  expect_refused("{" WORDS("'?':0,'a':-1") "}", "negative id -1");
  expect_refused("{'model':{'type':'WordLevel'}}", "model type WordLevel");
  expect_refused("{'normalizer':{'type':'Nmt'}," CHARS "}", "normalizer type Nmt");
  expect_refused("{'pre_tokenizer':{'type':'Digits'}," CHARS "}", "type Digits");
  expect_refused("{'post_processor':{'type':'X'}," CHARS "}", "post_processor type X");
  expect_refused("{" WORDS("'a':0") "}", "unk_token ? is not in the vocabulary");
  expect_refused("{" WORDS("'?':0,'a':4000000000") "}", "more than the file can hold");
  expect_refused("{" WORDS("'?':0,'a':0.5") "}", "no whole number");
  expect_refused("{'added_tokens':[{'id':0,'content':'b'}]," WORDS("'?':0") "}",
                 "have the same id 0");
  expect_refused("{'added_tokens':[{'id':1,'content':'?'}]," WORDS("'?':0") "}",
                 "two ids, 0 and 1");
  expect_refused("{'pre_tokenizer':{'type':'ByteLevel'}," WORDS("'?':0") "}",
                 "needs a BPE model");
  expect_refused("{'model':{'type':'BPE','vocab':{'a':0},'merges':['a a']}}", "merge 0");
  expect_refused("{'model':{'type':'BPE','vocab':{'a':0},'merges':['a']}}", "merge 0");
  expect_refused("{'model':{'type':'BPE','dropout':0.1,'vocab':{'a':0},'merges':[]}}",
                 "dropout");
  expect_refused("{'model':{'type':'BPE','vocab':{'a':0},'merges':[['a']]}}", "merge 0");
  expect_refused("{'model':{'type':'BPE','vocab':{'a':0}}}", "no list \"merges\"");
  expect_refused("{'model':{'type':'Unigram','unk_id':1,'vocab':[['a',0]]}}", "unk_id");
  expect_refused("{'model':{'type':'Unigram','unk_id':0,'vocab':[['a',NaN]]}}",
                 "element 0");
  expect_refused("{'model':{'type':'Unigram','unk_id':0,'vocab':[['a']]}}", "element 0");
  expect_refused(NORMALIZED("{'type':'Replace','pattern':{'Regex':'(a|b)'},"
                            "'content':''}"),
                 "(a|b)");
  expect_refused(NORMALIZED("{'type':'Precompiled','precompiled_charsmap':'AAA'}"),
                 "not base64");
  expect_refused(NORMALIZED("{'type':'Precompiled','precompiled_charsmap':'/wAAAAAA'}"),
                 "cannot hold a trie");
}

static void texts_that_grow_without_bound_are_refused(void **state) {
  (void)state;
  sp_tokenizer *t = parse(NORMALIZED(
      "{'type':'Sequence','normalizers':["
      "{'type':'Replace','pattern':{'String':'a'},'content':'aaaaaaaaaaaaaaaa'},"
      "{'type':'Replace','pattern':{'String':'a'},'content':'aaaaaaaaaaaaaaaa'},"
      "{'type':'Replace','pattern':{'String':'a'},'content':'aaaaaaaaaaaaaaaa'}"
      "]}"));
  sp_tokenize_options plain = {0};
  sp_tokens tokens = {0};
  assert_int_equal(sp_tokenizer_encode(t, "aaaa", 4, &plain, &tokens), SP_EINVAL);
  assert_int_equal(tokens.n, 0);
  sp_tokens_free(&tokens);
  sp_tokenizer_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(longest_pieces_come_first),
      cmocka_unit_test(bert_flags_decide),
      cmocka_unit_test(long_words_are_unknown),
      cmocka_unit_test(spans_are_bytes_of_the_original),
      cmocka_unit_test(invalid_utf8_counts_as_u_fffd),
      cmocka_unit_test(added_tokens_are_cut_out),
      cmocka_unit_test(of_two_added_tokens_the_longer_counts),
      cmocka_unit_test(an_empty_added_token_is_never_found),
      cmocka_unit_test(special_tokens_are_known),
      cmocka_unit_test(forms_compose_and_decompose),
      cmocka_unit_test(small_normalizers_do_as_they_say),
      cmocka_unit_test(precompiled_takes_the_shortest_prefix_and_drops_the_rest),
      cmocka_unit_test(metaspace_prepends_by_its_scheme),
      cmocka_unit_test(byte_level_splits_as_gpt2_did),
      cmocka_unit_test(merges_go_by_rank_from_the_left),
      cmocka_unit_test(many_symbols_merge_as_few_do),
      cmocka_unit_test(unknown_characters_go_by_the_flags),
      cmocka_unit_test(byte_fallback_spells_bytes),
      cmocka_unit_test(affixes_and_whole_words),
      cmocka_unit_test(texts_are_cut_only_where_no_merge_reaches),
      cmocka_unit_test(unigram_takes_the_likeliest_way),
      cmocka_unit_test(post_processors_put_special_tokens_around),
      cmocka_unit_test(options_cut_and_leave_out),
      cmocka_unit_test(a_files_own_truncation_does_not_count),
      cmocka_unit_test(saving_gives_the_same_tokenizer),
      cmocka_unit_test(the_hash_tells_tokenizers_apart),
      cmocka_unit_test(one_scratch_serves_several_tokenizers),
      cmocka_unit_test(vocab_txt_has_berts_uncased_rules),
      cmocka_unit_test(faulty_files_are_refused_by_name),
      cmocka_unit_test(texts_that_grow_without_bound_are_refused),
  };
  return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
