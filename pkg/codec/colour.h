#pragma once
#include <stdint.h>

/* How colours are told, of an sRGB screen: as BT.709 has it in the whole range of a byte, or as BT.601 has it in the short one. These are the numbers
 * of H.273, which H.264 and AV1 share. */
enum { COLOUR_PRIMARIES = 1, COLOUR_TRANSFER = 13, COLOUR_709 = 1, COLOUR_601 = 6 };

/* Convert BGRX pixels, full: into the whole range. The first takes a row and makes a colour for each pixel; the second takes two rows and makes colours of
 * the means of four pixels. Without y no luma is made. The number of pixels is even. */
void colour_444(const uint8_t *bgrx, uint8_t *y, uint8_t *u, uint8_t *v, int pixels, int full);
void colour_420(const uint8_t *bgrx, const uint8_t *below, uint8_t *y, uint8_t *y_below, uint8_t *u, uint8_t *v, int pixels, int full);
