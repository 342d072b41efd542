// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef TPPLAN_CZLIB_SHIM_H
#define TPPLAN_CZLIB_SHIM_H

#include <zlib.h>

/// inflateInit2 is a macro; 16 + 15: a gzip stream with the largest window.
static inline int czlib_inflate_init_gzip(z_stream *stream) { return inflateInit2(stream, 16 + 15); }

#endif
