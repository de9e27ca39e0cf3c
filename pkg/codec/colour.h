#pragma once
#include <stdint.h>

/* How colours are told, of an sRGB screen: as BT.709 has it in the whole range of a byte, or as BT.601 has it in the short one. These are the numbers
 * of H.273, which H.264 and AV1 share. */
enum { COLOUR_PRIMARIES = 1, COLOUR_TRANSFER = 13, COLOUR_709 = 1, COLOUR_601 = 6 };

/* Convert BGRX pixels, full: into the whole range. Luma takes one row; colours take one row and
 * make as many, or take two and make half as many, of the means of four pixels. The number of pixels is even. */
void colour_luma(const uint8_t *bgrx, uint8_t *y, int pixels, int full);
void colour_444(const uint8_t *bgrx, uint8_t *u, uint8_t *v, int pixels, int full);
void colour_420(const uint8_t *bgrx, const uint8_t *below, uint8_t *u, uint8_t *v, int pixels, int full);
