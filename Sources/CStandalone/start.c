// SPDX-License-Identifier: GPL-3.0-or-later
#include <stdlib.h>
#include <unistd.h>

/// Of Swift's runtime: where the program's arguments are.
void _swift_stdlib_overrideUnsafeArgvArgc(char **argv, int argc);

/// Where /proc is not mounted, as in an empty root, Swift's runtime cannot find its own place, which it looks for to start its backtracer, and ends
/// the program; and it finds no arguments. This comes before the runtime, whose initialisers have no priority, and glibc passes it main's arguments.
__attribute__((constructor(101))) static void start_without_proc(int argc, char **argv) {
  if (access("/proc/self/exe", F_OK) == 0) return;
  setenv("SWIFT_ROOT", "/", 0);
  _swift_stdlib_overrideUnsafeArgvArgc(argv, argc);
}
