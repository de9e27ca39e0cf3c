#pragma once
#include "picture.h"

/* A tile is one cell of the picture, coded exactly and by itself. */
enum { TILE_PIXELS = CELL_W * CELL_H, TILE_RAW = 1 + 3 * TILE_PIXELS };

/* A cell's place in the picture, in pixels: those at the right and lower edges may be less than whole ones. */
struct place {
	int x, y, columns, rows;
};

struct place place_of(const struct picture *p, int cell);

/* What the viewer has of a cell. */
enum { NOTHING, PIXELS, ONE_COLOUR };

/* What the viewer has of a picture's cells, so that a tile need only say what is new. */
struct tiles {
	struct picture *picture;
	int count;
	/* The picture's pixels as the viewer was last told; known says for which cells that is so, or that a cell's first stands for all of it. */
	uint8_t *base;
	uint8_t *known;
};

struct tiles *tiles_new(struct picture *p);
void tiles_free(struct tiles *t);

/* How many of these cells are not of one colour, as far as their luma tells. */
int tiles_detailed(const struct tiles *t, const uint16_t *cells, int n);

/* Codes a cell as the picture has it into out, which has room for TILE_RAW bytes, and returns how many it took. */
size_t tiles_code(struct tiles *t, int cell, uint8_t *out, uint32_t *hash);

/* Writes out in base what the viewer has of cells of one colour. */
void tiles_spread(struct tiles *t);

/* Finds where most of these cells went, which the viewer has: (x, y) is now what was at (x + dx, y + dy). dx and dy come as what is tried first. Returns 0 if it
 * finds nothing, or that they did not move. */
int tiles_find(struct tiles *t, const uint16_t *cells, int n, int *dx, int *dy);

/* A rectangle, [x0, x1) by [y0, y1), of cells or of pixels. */
struct rect {
	int x0, y0, x1, y1;
};

/* Says of each cell of a rectangle, row by row, whether it is what the viewer has so far away. A cell whose pixels come from beyond the picture is not. */
void tiles_same(struct tiles *t, struct rect cells, int dx, int dy, uint8_t *same);

/* Grows a rectangle of pixels, by less than a cell at each side, as far as most of what is beside it is what the viewer has so far away. */
struct rect tiles_grow(struct tiles *t, struct rect pixels, int dx, int dy);

/* Has the viewer's pixels in a rectangle be those from so far away, as the viewer itself does. These are within the picture. */
void tiles_shift(struct tiles *t, struct rect pixels, int dx, int dy);

/* Lists up to room cells that changed since they were last listed. */
int tiles_changed(struct tiles *t, uint16_t *cells, int room);
