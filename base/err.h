/* base/err.h - how every call that can fail says so.
 *
 * A function returns SP_OK or the kind of failure; the sentence for the user (what,
 * where, what was expected) is kept for the calling thread until its next failure. Only
 * tools/ and server/ print it. A caller's mistake is an assert, not an sp_err. */
#ifndef SP_ERR_H
#define SP_ERR_H

#ifdef __cplusplus
extern "C" { /* for the CUDA kernels' launchers */
#endif

typedef enum sp_err {
  SP_OK = 0,
  SP_EINVAL,    /* an argument, option or request is wrong */
  SP_ENOTFOUND, /* no such file, index, document */
  SP_EFORMAT,   /* a file is damaged or not what it claims to be */
  SP_ENOMEM,    /* host or device memory is exhausted */
  SP_EIO,       /* the system refused: disk full, permission, map full */
  SP_ECUDA,     /* a CUDA call failed, or there is no device */
  SP_EBUSY,     /* somebody else holds what is needed */
  SP_ECANCELLED /* asked to stop */
} sp_err;

/* Keeps the formatted sentence for this thread and returns `err`, so that failing and
 * saying why are one line. Longer than 1,023 bytes is cut. A `%s` argument may be the
 * current sp_err_message(): it is read before it is overwritten. */
sp_err sp_fail(sp_err err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* sp_fail() with ": " and strerror(`errnum`) appended. ENOMEM becomes SP_ENOMEM, ENOENT
 * SP_ENOTFOUND, the rest SP_EIO. */
sp_err sp_fail_errno(int errnum, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* This thread's last sentence; "" when there was none. Valid until the next failure. */
const char *sp_err_message(void);

/* Puts "`prefix`: " before the kept sentence and returns `err`: for callers that know
 * where. */
sp_err sp_err_at(sp_err err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif

#endif
