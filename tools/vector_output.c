/* tools/vector_output.c - vectors into files, line by line or block by block. */
#include "tools/vector_output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char BEGIN[] = "{\"id\":", END[] = "]}"; /* of each line */
enum { N_BEGIN = sizeof BEGIN - 1 };

/* Counts the whole lines; *end is where the last of them ends. Anything but lines of ours, and
 * the first part of one at the end, is somebody's work. */
static sp_err find_end(FILE *f, const char *path, uint64_t *n_lines, off_t *end) {
  off_t at = 0, begin = 0;
  int c, last = 0, before = 0;
  *n_lines = 0;
  *end = 0;
  for (; (c = getc_unlocked(f)) != EOF; at++, before = last, last = c) {
    const bool ours = c == '\n'
                          ? before == END[0] && last == END[1] && at > begin + N_BEGIN
                          : at >= begin + N_BEGIN || c == BEGIN[at - begin];
    if (c == '\0' && *n_lines) break; /* never written, as after a loss of power */
    if (!ours)
      return sp_fail(
          SP_EFORMAT,
          "%s:%llu: not a line of vectors as encode writes it: this file is not "
          "gone on with",
          path, (unsigned long long)*n_lines + 1);
    if (c != '\n') continue;
    ++*n_lines;
    *end = begin = at + 1;
  }
  return ferror(f) ? sp_fail_errno(errno, "%s", path) : SP_OK;
}

/* Cuts off what follows the last whole line, and goes there. */
static sp_err keep_whole_lines(FILE *f, const char *path, uint64_t *n_lines) {
  if (flock(fileno(f), LOCK_EX | LOCK_NB))
    return sp_fail(SP_EBUSY, "%s: another writer has it open", path);
  off_t end;
  sp_err err = find_end(f, path, n_lines, &end);
  if (!err && (ftruncate(fileno(f), end) || fseeko(f, end, SEEK_SET)))
    err = sp_fail_errno(errno, "%s: cannot go on behind its last line", path);
  return err;
}

static sp_err open_lines(const char *path, bool resume, vector_output *o,
                         uint64_t *n_there) {
  if (!resume) {
    sp_err err = sp_out_open(path, &o->out);
    o->f = o->out.f;
    return err;
  }
  o->in_place = true;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  o->f = fd < 0 ? NULL : fdopen(fd, "r+b");
  if (!o->f) {
    sp_err err = sp_fail_errno(errno, "%s", path);
    if (fd >= 0) close(fd);
    return err;
  }
  sp_err err = keep_whole_lines(o->f, path, n_there);
  if (err) fclose(o->f);
  return err;
}

sp_err vector_output_open(const char *path, sp_vector_write_options options, bool resume,
                          vector_output *o, uint64_t *n_there) {
  *o = (vector_output){.path = path};
  *n_there = 0;
  size_t n = strlen(path);
  bool named = n > 6 && !strcmp(path + n - 6, ".jsonl");
  bool lines = options.format == SP_VECTORS_JSONL ||
               (options.format == SP_VECTORS_AUTO && (named || !strcmp(path, "-")));
  if (resume && !strcmp(path, "-"))
    return sp_fail(SP_EINVAL, "standard output cannot be resumed: name a file with -o");
  struct stat st;
  if (resume && stat(path, &st) == 0 && !S_ISREG(st.st_mode))
    return sp_fail(SP_EINVAL, "%s: only a file can be resumed", path);
  if (lines) return open_lines(path, resume, o, n_there);
  options.resumable = resume;
  sp_err err = sp_vector_writer_open(path, &options, &o->writer);
  if (!err) *n_there = sp_vector_writer_n_vectors(o->writer);
  return err;
}

static sp_err build_line(sp_buf *b, const text_line *line, const sp_vec *v) {
  sp_buf_clear(b);
  sp_err err = sp_buf_append_str(b, "{\"id\":");
  if (!err) err = sp_buf_append(b, line->id_json, line->n_id_json);
  if (!err) err = sp_buf_append_str(b, ",\"terms\":[");
  for (uint32_t i = 0; i < v->n && !err; i++)
    err = sp_buf_printf(b, i ? ",%u" : "%u", v->terms[i]);
  if (!err) err = sp_buf_append_str(b, "],\"weights\":[");
  for (uint32_t i = 0; i < v->n && !err; i++)
    err = sp_buf_printf(b, i ? ",%.9g" : "%.9g", (double)v->weights[i]);
  return err ? err : sp_buf_append_str(b, "]}\n");
}

sp_err vector_output_put(vector_output *o, const text_line *line, const sp_vec *v) {
  if (o->writer)
    return sp_vector_writer_put(o->writer, line->id, line->n_id, v, line->text,
                                line->n_text);
  sp_err err = build_line(&o->line, line, v);
  if (!err && fwrite(o->line.data, 1, o->line.n, o->f) != o->line.n)
    err = sp_fail_errno(errno, "%s: cannot write", o->path);
  return err;
}

sp_err vector_output_sync(vector_output *o) {
  if (o->writer) return sp_vector_writer_sync(o->writer);
  if (fflush(o->f)) return sp_fail_errno(errno, "%s: cannot write", o->path);
  return SP_OK;
}

static sp_err close_in_place(vector_output *o, sp_err err) {
  int failed = fflush(o->f) || fsync(fileno(o->f)) ? errno : 0;
  if (fclose(o->f) && !failed) failed = errno;
  if (!err && failed) err = sp_fail_errno(failed, "%s: cannot write", o->path);
  return err;
}

sp_err vector_output_close(vector_output *o, sp_err err) {
  sp_buf_free(&o->line);
  if (o->writer) {
    if (!err) return sp_vector_writer_finish(o->writer);
    sp_vector_writer_abort(o->writer);
  } else if (o->in_place) {
    return close_in_place(o, err);
  } else if (o->f) {
    if (!err) return sp_out_commit(&o->out);
    sp_out_abort(&o->out);
  }
  return err;
}
