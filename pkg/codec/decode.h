#pragma once
#include <stddef.h>
#include <stdint.h>

/* Decode one keyframe of VP9 or AV1 into BGRX of that size. Returns what went wrong, NULL when nothing did. */
const char *decode_vp9(const uint8_t *data, size_t size, uint8_t *bgrx, int width, int height);
const char *decode_av1(const uint8_t *data, size_t size, uint8_t *bgrx, int width, int height);
