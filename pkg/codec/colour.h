#pragma once
#include <stdint.h>

/* How colours are told: as BT.709 has it, in the whole range of a byte, of an sRGB screen. These are the numbers of H.273, which H.264 and AV1 share. */
enum { COLOUR_PRIMARIES = 1, COLOUR_TRANSFER = 13, COLOUR_MATRIX = 1, COLOUR_FULL_RANGE = 1 };

/* Converts BGRX pixels. Luma takes one row; colours take one row and make as many, or take two and make half as many, of the means of four pixels.
 * The number of pixels is even. */
void colour_luma(const uint8_t *bgrx, uint8_t *y, int pixels);
void colour_444(const uint8_t *bgrx, uint8_t *u, uint8_t *v, int pixels);
void colour_420(const uint8_t *bgrx, const uint8_t *below, uint8_t *u, uint8_t *v, int pixels);

/* The same without the processor's vectors. */
void colour_plain_luma(const uint8_t *bgrx, uint8_t *y, int pixels);
void colour_plain_444(const uint8_t *bgrx, uint8_t *u, uint8_t *v, int pixels);
void colour_plain_420(const uint8_t *bgrx, const uint8_t *below, uint8_t *u, uint8_t *v, int pixels);
