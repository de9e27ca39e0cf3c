#pragma once
#include "picture.h"

/* A tile is one cell of the picture, coded exactly and by itself. */
enum { TILE_PIXELS = CELL_W * CELL_H, TILE_RAW = 1 + 3 * TILE_PIXELS };

/* What the viewer has of a picture's cells, so that a tile need only say what is new. */
struct tiles {
	struct picture *picture;
	int count;
	/* Each cell's pixels in a row, 0x00BBGGRR, as the viewer was last told; known says for which cells that is so, or that the first stands for all. */
	uint32_t *base;
	uint8_t *known;
};

struct tiles *tiles_new(struct picture *p);
void tiles_free(struct tiles *t);

/* How many of these cells are not of one colour, as far as their luma tells. */
int tiles_detailed(const struct tiles *t, const uint16_t *cells, int n);

/* Codes a cell as the picture has it into out, which has room for TILE_RAW bytes, and returns how many it took. */
size_t tiles_code(struct tiles *t, int cell, uint8_t *out, uint32_t *hash);

/* Lists up to room cells that changed since they were last listed. */
int tiles_changed(struct tiles *t, uint16_t *cells, int room);
