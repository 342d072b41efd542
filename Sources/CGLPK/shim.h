// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef TPPLAN_CGLPK_SHIM_H
#define TPPLAN_CGLPK_SHIM_H

#include <glpk.h>
#include <setjmp.h>

// GLPK reports what it regards as a fatal error (bad input, lack of memory, a failed assertion) by calling its error
// hook and then abort(). The hook below leaves by longjmp instead. Nothing of GLPK's state on this thread may be used
// after that, so the environment is freed with every problem in it, and the caller must not free them again. The jump
// crosses C frames only: the functions here are called from Swift and call GLPK, and GLPK's callbacks into Swift make
// no call that can fail.

static inline void cglpk_leave(void *info) { longjmp(*(jmp_buf *)info, 1); }

#define CGLPK_GUARDED(statement)             \
  jmp_buf cglpk_exit;                        \
  if (setjmp(cglpk_exit)) {                  \
    glp_error_hook(NULL, NULL);              \
    glp_free_env();                          \
    return 1;                                \
  }                                          \
  glp_error_hook(cglpk_leave, &cglpk_exit);  \
  statement;                                 \
  glp_error_hook(NULL, NULL);                \
  return 0;

/// glp_add_cols, glp_add_rows: 0, or 1 where GLPK failed fatally and its environment was freed (as for all below).
static inline int cglpk_add_cols(glp_prob *P, int count) { CGLPK_GUARDED(glp_add_cols(P, count)) }
static inline int cglpk_add_rows(glp_prob *P, int count) { CGLPK_GUARDED(glp_add_rows(P, count)) }

/// glp_set_mat_row
static inline int cglpk_set_mat_row(glp_prob *P, int row, int count, const int *columns, const double *values) {
  CGLPK_GUARDED(glp_set_mat_row(P, row, count, columns, values))
}

/// glp_load_matrix
static inline int cglpk_load_matrix(glp_prob *P, int count, const int *rows, const int *columns, const double *values) {
  CGLPK_GUARDED(glp_load_matrix(P, count, rows, columns, values))
}

/// glp_simplex; its return code goes to *code.
static inline int cglpk_simplex(glp_prob *P, const glp_smcp *parameters, int *code) {
  CGLPK_GUARDED(*code = glp_simplex(P, parameters))
}

/// glp_intopt; its return code goes to *code.
static inline int cglpk_intopt(glp_prob *P, const glp_iocp *parameters, int *code) {
  CGLPK_GUARDED(*code = glp_intopt(P, parameters))
}

/// glp_write_lp; its return code goes to *code.
static inline int cglpk_write_lp(glp_prob *P, const char *path, int *code) {
  CGLPK_GUARDED(*code = glp_write_lp(P, NULL, path))
}

#endif
