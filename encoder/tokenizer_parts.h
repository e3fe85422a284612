/* encoder/tokenizer_parts.h - what a tokenizer is made of. Private to the tokenizer.
 *
 * The way of a text: added tokens are cut out of it; each piece between them is
 * normalized (normalizer.h), searched for the added tokens that want normalized text, cut
 * into words (pretokenizer.h), and each word into tokens (wordpiece.h, bpe.h, unigram.h);
 * the post-processor puts special tokens around. */
#ifndef SP_TOKENIZER_PARTS_H
#define SP_TOKENIZER_PARTS_H

#include <jansson.h>

#include "base/json_scan.h"
#include "base/strmap.h"
#include "encoder/draft.h"
#include "encoder/tokenizer.h"
#include "encoder/trie.h"
#include "encoder/unicode.h"
#include "encoder/word_cache.h"

/* ---- the file ----
 * A tokenizer.json is mostly vocabulary and merges: these are scanned where they lie, and
 * only the small rest becomes a tree. */

/* A member of an object: a scan that stands before its value, and the value's end. */
typedef struct sp_member {
  sp_json_scan scan; /* begin is NULL where there is no such member */
  const char *end;
} sp_member;

/* Finds the members with these n names (of equal ones the last) in the object that `scan`
 * stands before, and takes it. `rest`, if not NULL, gets the others, as an object.
 * Errors: EFORMAT, ENOMEM. */
sp_err sp_members_find(sp_json_scan *scan, const char *const *names, size_t n,
                       const char *where, sp_member *out, sp_buf *rest);

/* The value as a tree, which is the caller's; NULL where the member is missing. */
sp_err sp_member_parse(const sp_member *m, const char *name, const char *where,
                       json_t **out);

/* The first byte of the value, as sp_json_scan_peek() has it; 0: it is missing. */
char sp_member_kind(const sp_member *m);

/* The failure of a scan as a sentence. */
sp_err sp_scan_fault(const sp_json_scan *scan, const char *where);

/* The members of the file that count. */
typedef enum sp_file_part {
  SP_PART_ADDED_TOKENS,
  SP_PART_NORMALIZER,
  SP_PART_PRE_TOKENIZER,
  SP_PART_POST_PROCESSOR,
  SP_PART_MODEL,
  SP_N_PARTS
} sp_file_part;

/* The member "model". */
typedef struct sp_model_file {
  sp_member vocab, merges;
  json_t *facts; /* the others */
} sp_model_file;

/* ---- what other files of the directory say (tokenizer_config.c) ---- */

typedef struct sp_tokenizer_rules {
  bool bert; /* the three below are the normalizer's, whatever its file says */
  bool lowercase, accents, chinese;
  bool lower_first;           /* before all other steps */
  bool roberta, prefix_space; /* of the ByteLevel pre-tokenizer, whatever its file says */
  char *dir;                  /* of the tokenizer's file */
  char *where;                /* tokenizer_config.json; NULL: there is none */
  json_t *config;             /* whole numbers are reals */
} sp_tokenizer_rules;

/* Reads the tokenizer_config.json beside `path`, if there is one. On SP_OK the caller ends
 * *r with sp_tokenizer_rules_free(). Errors: EFORMAT, EIO, ENOMEM. */
sp_err sp_tokenizer_rules_load(const char *path, const sp_tokenizer_wish *wish,
                               sp_tokenizer_rules *r);
void sp_tokenizer_rules_free(sp_tokenizer_rules *r);

/* Changes the trees of the normalizer and of the added tokens (NULL: there are none) where
 * the rules say otherwise. */
sp_err sp_tokenizer_rules_normalizer(const sp_tokenizer_rules *r, json_t **normalizer,
                                     bool *changed, const char *where);
sp_err sp_tokenizer_rules_pretokenizer(const sp_tokenizer_rules *r, json_t *pre,
                                       bool *changed, const char *where);
sp_err sp_tokenizer_rules_added(const sp_tokenizer_rules *r, json_t **added,
                                bool *changed, const char *where);

/* Refuses a BERT whose tokenizer.json has other special tokens than its
 * tokenizer_config.json. Errors: EFORMAT. */
sp_err sp_tokenizer_rules_check(const sp_tokenizer_rules *r,
                                const struct sp_tokenizer *t);

/* sp_tokenizer_parse() with rules; NULL: none. */
sp_err sp_tokenizer_parse_ruled(const char *json, size_t n, const char *where,
                                const sp_tokenizer_rules *rules, sp_tokenizer **out);

/* Opens a vocab.txt. Errors: as sp_tokenizer_open(). */
sp_err sp_vocab_txt_open(const char *path, const sp_tokenizer_rules *rules,
                         sp_tokenizer **out);

/* ---- vocabulary ---- */

typedef struct sp_vocab {
  sp_strmap *tokens;   /* spelling -> number */
  uint32_t *id_of;     /* [count] number -> id */
  uint32_t *number_of; /* [n_ids] id -> number, or SP_STRMAP_NONE */
  uint32_t n_ids;      /* the largest id + 1 */
  uint32_t cap;        /* of id_of */
  uint32_t cap_ids;    /* of number_of */
  uint32_t n_own;      /* tokens of the model itself: the first ones */
  uint32_t max_ids;    /* an id at or above it is refused: the file could not fill it */
} sp_vocab;

/* Adds a token. A spelling that is there already with this id is fine; with another id,
 * or an id that another spelling has, is EFORMAT. Errors: ENOMEM, EFORMAT. */
sp_err sp_vocab_add(sp_vocab *v, const char *token, size_t n, int64_t id,
                    const char *where);
uint32_t sp_vocab_find(const sp_vocab *v, const char *token, size_t n);

/* The same among the model's own tokens: once the model is read, sp_vocab_seal() draws the
 * line, and added tokens come behind it. */
uint32_t sp_vocab_find_own(const sp_vocab *v, const char *token, size_t n);
void sp_vocab_seal(sp_vocab *v);
const char *sp_vocab_token(const sp_vocab *v, uint32_t id, size_t *n);

/* Reads {"token": id, ...}. Errors: ENOMEM, EFORMAT. */
sp_err sp_vocab_read(sp_vocab *v, const sp_member *object, const char *where);
void sp_vocab_free(sp_vocab *v);

/* ---- added tokens ---- */

typedef struct sp_added_token {
  const char *content; /* borrowed from the vocabulary */
  size_t n;
  uint32_t id;
  bool single_word, lstrip, rstrip, normalized, special;
} sp_added_token;

/* The added tokens that are looked for at the same time. */
typedef struct sp_added_set {
  sp_trie trie;     /* values: places in `tokens` */
  bool begins[256]; /* bytes that one begins with */
  bool any;
} sp_added_set;

typedef struct sp_added {
  sp_added_token *tokens; /* [n] */
  uint32_t *by_id;        /* [n] places in `tokens`, ascending by id */
  size_t n;
  sp_added_set raw, normalized; /* looked for before and after normalization */
} sp_added;

/* A match in a text: the blanks that lstrip and rstrip swallow are in it. */
typedef struct sp_added_match {
  const sp_added_token *token;
  size_t begin, end;
} sp_added_match;

/* Finds the leftmost, longest token at or after *at, which moves behind it; `from` is the
 * end of the match before (lstrip goes no further back). False: none. */
bool sp_added_next(const sp_added *a, const sp_added_set *set, const char *s, size_t n,
                   size_t from, size_t *at, sp_added_match *out);

/* The added token with this id, or NULL. */
const sp_added_token *sp_added_find(const sp_added *a, uint32_t id);

struct sp_tokenizer;

/* Reads "added_tokens"; they join the vocabulary. */
sp_err sp_added_read(struct sp_tokenizer *t, const json_t *array, const char *where);

/* Makes the sets, once the normalizer is known: it normalizes the contents too. */
sp_err sp_added_prepare(struct sp_tokenizer *t);
void sp_added_free(sp_added *a);

/* ---- normalizer ---- */

typedef enum sp_norm_kind {
  SP_NORM_BERT,
  SP_NORM_NFC,
  SP_NORM_NFD,
  SP_NORM_NFKC,
  SP_NORM_NFKD,
  SP_NORM_LOWERCASE,
  SP_NORM_STRIP_ACCENTS,
  SP_NORM_STRIP,
  SP_NORM_PREPEND,
  SP_NORM_REPLACE,
  SP_NORM_PRECOMPILED
} sp_norm_kind;

/* A map of character clusters to replacements, as SentencePiece compiles it: a
 * double-array trie over `n_units` units, and NUL-terminated replacements. */
typedef struct sp_charsmap {
  uint32_t *units;
  size_t n_units;
  char *values;
  size_t n_values;
  bool plain[128]; /* ASCII that is a cluster of its own and stays as it is */
} sp_charsmap;

typedef struct sp_norm_step {
  sp_norm_kind kind;
  bool clean, chinese, accents, lower; /* BERT; `accents`: they are stripped */
  bool left, right;                    /* Strip */
  char *pattern, *content;             /* Replace, Prepend (content only) */
  size_t n_pattern, n_content;
  size_t repeat; /* Replace: pattern is one character, this often or more; 0: as it is */
  sp_charsmap map;
  uint8_t ascii[128]; /* BERT: what becomes of it */
  bool drops[128];    /* BERT: nothing */
} sp_norm_step;

typedef struct sp_normalizer {
  sp_norm_step *steps; /* [n], sequences flattened */
  size_t n;
} sp_normalizer;

sp_err sp_normalizer_read(sp_normalizer *z, const json_t *o, const char *where);
void sp_normalizer_free(sp_normalizer *z);

/* Characters that wait until their order is known. */
typedef struct sp_pending {
  struct sp_pending_char {
    uint32_t code;
    int32_t change;
    uint8_t class_;
  } * chars;
  size_t n, cap;
} sp_pending;

/* What the steps need besides the text: reused from call to call. */
typedef struct sp_norm_scratch {
  sp_draft drafts[2];
  sp_pending pending;
} sp_norm_scratch;

/* Runs all steps on `in`; *out is `in` itself or one of the scratch's drafts. */
sp_err sp_normalizer_run(const sp_normalizer *z, const sp_draft *in,
                         sp_norm_scratch *scratch, const sp_draft **out);

/* Single steps with files of their own. */
sp_err sp_norm_bert(const sp_norm_step *step, const sp_draft *in, sp_draft *out,
                    sp_pending *pending);
sp_err sp_norm_forms(sp_norm_kind kind, const sp_draft *in, sp_draft *out,
                     sp_pending *pending);
sp_err sp_charsmap_read(sp_charsmap *m, const char *base64, size_t n, const char *where);
sp_err sp_norm_precompiled(const sp_charsmap *m, const sp_draft *in, sp_draft *out);

sp_err sp_pending_push(sp_pending *p, uint32_t code, int change, uint8_t class_);
/* Sorts each run between starters by combining class, stable (Unicode, section 3.11:
 * canonical ordering). */
void sp_pending_order(sp_pending *p);

/* ---- pre-tokenizer ---- */

typedef enum sp_pre_kind {
  SP_PRE_BERT,
  SP_PRE_WHITESPACE_SPLIT,
  SP_PRE_METASPACE,
  SP_PRE_BYTE_LEVEL,
  SP_PRE_CUT /* of our own: shorter words where that cannot change the tokens */
} sp_pre_kind;

typedef enum sp_prepend {
  SP_PREPEND_NEVER,
  SP_PREPEND_FIRST,
  SP_PREPEND_ALWAYS
} sp_prepend;

typedef struct sp_pre_step {
  sp_pre_kind kind;
  sp_prepend prepend;  /* Metaspace, ByteLevel */
  bool split;          /* Metaspace: into words; ByteLevel: by the regex */
  char replacement[4]; /* Metaspace, CUT */
  size_t n_replacement;
} sp_pre_step;

typedef struct sp_pretokenizer {
  sp_pre_step *steps; /* [n] */
  size_t n;
} sp_pretokenizer;

sp_err sp_pretokenizer_read(sp_pretokenizer *p, const json_t *o, const char *where);
sp_err sp_pretokenizer_add(sp_pretokenizer *p, sp_pre_step step);
void sp_pretokenizer_free(sp_pretokenizer *p);

/* Words of a draft: bytes [begin, end), never empty, in order. */
typedef struct sp_spans {
  struct sp_span {
    uint32_t begin, end;
  } * at;
  size_t n, cap;
} sp_spans;
sp_err sp_spans_push(sp_spans *w, size_t begin, size_t end);

typedef struct sp_pre_scratch {
  sp_draft drafts[2];
  sp_spans words[2];
} sp_pre_scratch;

/* Cuts in's bytes [begin, end) into words. `first`: that is where the whole text begins.
 * *out and *words are borrowed from `in` and the scratch. */
sp_err sp_pretokenizer_run(const sp_pretokenizer *p, const sp_draft *in, size_t begin,
                           size_t end, bool first, sp_pre_scratch *scratch,
                           const sp_draft **out, const sp_spans **words);

/* ---- models ----
 * Each appends the tokens of word[0..n), n > 0, to out's ids, with begin and end counted
 * in bytes from the word's start. There is room for n + 1 of them. 32 bytes behind the
 * word may be read. */

typedef enum sp_model_kind {
  SP_MODEL_WORDPIECE,
  SP_MODEL_BPE,
  SP_MODEL_UNIGRAM
} sp_model_kind;

typedef struct sp_wordpiece {
  sp_trie trie;
  uint32_t inner; /* the trie's node behind the continuation prefix, if has_inner */
  bool has_inner;
  uint32_t unk;
  uint32_t max_chars;
} sp_wordpiece;

sp_err sp_wordpiece_read(sp_wordpiece *m, sp_vocab *v, const sp_model_file *f,
                         const char *where);
void sp_wordpiece_encode(const sp_wordpiece *m, const char *word, size_t n,
                         sp_tokens *out);
void sp_wordpiece_free(sp_wordpiece *m);

/* Merges of two tokens into one, by rank: open addressing on the pair. */
typedef struct sp_merges {
  struct sp_merge {
    uint32_t left, right, rank; /* rank SP_NO_RANK: the slot is free */
  } * slots;
  size_t mask;      /* slots - 1; slots is a power of two */
  uint32_t *result; /* [n] by rank */
  uint32_t n;
} sp_merges;

enum { SP_NO_RANK = 0xffffffff, SP_BPE_AFFIX = 64 };

typedef struct sp_bpe {
  sp_merges merges;
  const sp_vocab *vocab;
  uint32_t ascii[128];    /* ids of the ASCII characters, or UINT32_MAX */
  uint32_t bytes[256];    /* ByteLevel: ids of the bytes' characters */
  uint32_t fallback[256]; /* ids of <0x00> .. <0xFF> */
  char prefix[SP_BPE_AFFIX], suffix[SP_BPE_AFFIX];
  uint32_t unk; /* or UINT32_MAX: unknown characters vanish */
  bool fuse_unk, byte_fallback, ignore_merges, byte_level;
} sp_bpe;

typedef struct sp_bpe_scratch {
  struct sp_bpe_symbol *symbols;
  uint64_t *heap;
  size_t cap; /* symbols; the heap has room for twice as many */
} sp_bpe_scratch;

/* `byte_level`: words come as raw bytes, each standing for its printable character. */
sp_err sp_bpe_read(sp_bpe *m, sp_vocab *v, const sp_model_file *f, bool byte_level,
                   const char *where);
sp_err sp_bpe_encode(const sp_bpe *m, sp_bpe_scratch *scratch, const char *word, size_t n,
                     sp_tokens *out);

/* True when no merge joins something to a following `mark` that is not all marks: a text
 * may then be cut before each mark that follows another character. */
bool sp_bpe_may_cut(const sp_bpe *m, const sp_vocab *v, const char *mark);
void sp_bpe_free(sp_bpe *m);

/* The character that GPT-2's byte-level vocabularies write for a byte. */
uint32_t sp_byte_char(uint8_t byte);

typedef struct sp_unigram {
  sp_trie trie;   /* values: ids */
  double *scores; /* [n] by id: log probabilities */
  uint32_t n;
  uint32_t unk;
  double unk_score; /* of an unknown character */
  const sp_vocab *vocab;
  bool byte_fallback;
  uint32_t fallback[256];
} sp_unigram;

typedef struct sp_unigram_scratch {
  struct sp_unigram_node *nodes;
  uint32_t *path;
  size_t cap;
} sp_unigram_scratch;

sp_err sp_unigram_read(sp_unigram *m, sp_vocab *v, const sp_model_file *f,
                       const char *where);
sp_err sp_unigram_encode(const sp_unigram *m, sp_unigram_scratch *scratch,
                         const char *word, size_t n, sp_tokens *out);
void sp_unigram_free(sp_unigram *m);

/* ids of the tokens <0x00> .. <0xFF>; false when one is missing. */
bool sp_vocab_find_bytes(const sp_vocab *v, uint32_t ids[256]);

/* ---- post-processor ---- */

typedef struct sp_postprocessor {
  uint32_t *before, *after; /* special tokens around the text */
  size_t n_before, n_after;
  bool trims;        /* spans leave out the blanks at their ends */
  bool prefix_space; /* the first token's blank was put there, not written */
} sp_postprocessor;

sp_err sp_postprocessor_read(sp_postprocessor *p, const sp_vocab *v, const json_t *o,
                             const char *where);

/* Takes the blanks at a token's ends out of its span. */
void sp_postprocessor_trim(const sp_postprocessor *p, const sp_vocab *v,
                           const sp_added *added, const char *text, sp_tokens *tokens);
void sp_postprocessor_free(sp_postprocessor *p);

/* ---- all of it ---- */

struct sp_tokenizer {
  sp_vocab vocab;
  sp_added added;
  sp_normalizer normalizer;
  sp_pretokenizer pretokenizer;
  sp_model_kind kind;
  sp_wordpiece wordpiece; /* the one of `kind` is in use */
  sp_bpe bpe;
  sp_unigram unigram;
  sp_postprocessor post;
  sp_buf text;                               /* the file, for saving */
  sp_buf changed[SP_PART_PRE_TOKENIZER + 1]; /* parts that other files changed */
  sp_member parts[SP_N_PARTS];               /* in them */
  uint64_t hash;
};

struct sp_token_scratch {
  sp_draft input, piece;
  sp_norm_scratch norm;
  sp_pre_scratch pre;
  sp_word_cache cache;
  sp_bpe_scratch bpe;
  sp_unigram_scratch unigram;
};

#endif
