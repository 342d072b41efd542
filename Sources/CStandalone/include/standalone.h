// SPDX-License-Identifier: GPL-3.0-or-later
// What a program that is one file needs where nothing else is: see start.c and icu.c. Nothing here is called.
