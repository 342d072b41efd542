// SPDX-License-Identifier: GPL-3.0-or-later
#include <stdint.h>

/// An archive of ICU's data with nothing in it (the format: ucmndata.h in ICU's sources), in place of the 34 MB of languages, calendars and time
/// zones that Foundation brings: no verb writes a date, or anything in a person's language. The name is that of ICU 76, which Swift 6.3 has;
/// where another one is looked for, this is left out and that is linked.
struct archive {
  uint16_t header_size;
  uint8_t magic[2];
  uint16_t info_size;
  uint16_t reserved;
  uint8_t is_big_endian, charset_family, bytes_of_character, reserved_too;
  uint8_t format[4], format_version[4], data_version[4];
  uint8_t padding[8];
  /// Of items; their table follows, and is empty.
  uint32_t count;
  uint32_t table[3];
};

__attribute__((aligned(16))) const struct archive icudt76_dat = {
    .header_size = 32,
    .magic = {0xda, 0x27},
    .info_size = 20,
    .is_big_endian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__,
    .bytes_of_character = 2,
    .format = {'T', 'o', 'C', 'P'},
    .format_version = {1},
};
