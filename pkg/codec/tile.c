#include "tile.h"

#include <stdlib.h>
#include <string.h>

/* How a tile is coded: its first byte. */
enum { FRESH, DELTA, RAW, PLAIN };

/* FNV-1a (draft-eastlake-fnv). */
static const uint32_t fnv_basis = 0x811c9dc5, fnv_prime = 0x01000193;

/* The bytes that follow (ARCHITECTURE.md, "Exact tiles"). */
enum {
	INDEX = 0x00,  /* 00iiiiii  the colour at place i of the cache */
	DIFF = 0x40,   /* 01rrggbb  each channel -2..1 from the prediction */
	LUMA = 0x80,   /* 10gggggg rrrrbbbb  green -32..31, red and blue -8..7 from green's difference */
	RUN = 0xc0,    /* 1..31 pixels like the last one */
	RUN_LONG = 0xdf, /* u16 pixels */
	COPY = 0xe0,   /* 1..29 pixels like the reference: what the viewer has (DELTA), or the pixel above (FRESH) */
	COPY_LONG = 0xfd,
	RGB = 0xfe,    /* three bytes */
};

struct tiles *tiles_new(struct picture *p)
{
	struct tiles *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->picture = p;
	t->count = p->cells_wide * p->cells_high;
	t->base = malloc((size_t)p->width * p->height * 4);
	t->known = calloc(t->count, 1);
	if (!t->base || !t->known) {
		tiles_free(t);
		return NULL;
	}
	return t;
}

void tiles_free(struct tiles *t)
{
	if (!t)
		return;
	free(t->base);
	free(t->known);
	free(t);
}

int tiles_changed(struct tiles *t, uint16_t *cells, int room)
{
	int n = 0;
	uint8_t *state = t->picture->state;
	for (int i = 0; i < t->count && n < room; i++) {
		if (state[i] & CELL_UNLISTED) {
			state[i] &= ~CELL_UNLISTED;
			cells[n++] = i;
		}
	}
	return n;
}

/* Half of each channel of both. */
static inline uint32_t mean(uint32_t a, uint32_t b)
{
	return (a & b) + (((a ^ b) & 0xfefefe) >> 1);
}

static inline int place(uint32_t v)
{
	return (v * 0x9e3779b1u) >> 26;
}

static inline uint8_t *put_run(uint8_t *out, int n, int code, int most, int code_long)
{
	if (n <= most) {
		*out++ = code | (n - 1);
		return out;
	}
	*out++ = code_long;
	*out++ = n & 0xff;
	*out++ = n >> 8;
	return out;
}

static inline uint8_t *put_pixel(uint8_t *out, uint32_t v, uint32_t guess)
{
	int r = (int8_t)(v - guess), g = (int8_t)((v >> 8) - (guess >> 8)), b = (int8_t)((v >> 16) - (guess >> 16));
	if (r >= -2 && r <= 1 && g >= -2 && g <= 1 && b >= -2 && b <= 1) {
		*out++ = DIFF | (r + 2) << 4 | (g + 2) << 2 | (b + 2);
		return out;
	}
	if (g >= -32 && g <= 31 && r - g >= -8 && r - g <= 7 && b - g >= -8 && b - g <= 7) {
		*out++ = LUMA | (g + 32);
		*out++ = (r - g + 8) << 4 | (b - g + 8);
		return out;
	}
	*out++ = RGB;
	*out++ = v;
	*out++ = v >> 8;
	*out++ = v >> 16;
	return out;
}

/* Codes pixels in the order of rows. Returns NULL when that takes as much as the pixels themselves. */
static uint8_t *code(const uint32_t *now, int columns, int n, const uint32_t *base, uint8_t *out)
{
	uint32_t cache[64] = {0}, last = 0;
	const uint8_t *end = out + TILE_RAW * (size_t)n / TILE_PIXELS - 5;
	for (int i = 0, x = 0; i < n;) {
		if (out >= end)
			return NULL;
		uint32_t v = now[i], up = i >= columns ? now[i - columns] : last;
		int run = 0, copy = 0;
		if (v == last)
			while (i + run < n && now[i + run] == last)
				run++;
		if (base)
			while (i + copy < n && now[i + copy] == base[i + copy])
				copy++;
		else if (v == up && i >= columns)
			while (i + copy < n && now[i + copy] == now[i + copy - columns])
				copy++;
		if (run || copy) {
			if (copy > run)
				out = put_run(out, copy, COPY, 29, COPY_LONG);
			else
				out = put_run(out, run, RUN, 31, RUN_LONG);
			int took = copy > run ? copy : run;
			i += took;
			last = now[i - 1];
			for (x += took; x >= columns;)
				x -= columns;
			continue;
		}
		uint32_t left = x ? last : up;
		if (cache[place(v)] == v) {
			*out++ = INDEX | place(v);
		} else {
			cache[place(v)] = v;
			out = put_pixel(out, v, mean(left, up));
		}
		last = v;
		i++;
		if (++x == columns)
			x = 0;
	}
	return out;
}

static inline uint32_t colour_at(const uint8_t *bgrx)
{
	uint32_t v;
	memcpy(&v, bgrx, sizeof v);
	return __builtin_bswap32(v) >> 8;
}

static int plain(const uint8_t *from, size_t stride, int columns, int rows)
{
	if (memcmp(from, from + 4, (size_t)(columns - 1) * 4))
		return 0;
	for (int y = 1; y < rows; y++)
		if (memcmp(from, from + y * stride, (size_t)columns * 4))
			return 0;
	return 1;
}

int tiles_detailed(const struct tiles *t, const uint16_t *cells, int n)
{
	int detailed = 0;
	for (int i = 0; i < n; i++)
		detailed += t->picture->detail[cells[i]] > 0;
	return detailed;
}

struct place place_of(const struct picture *p, int cell)
{
	struct place c = {.x = cell % p->cells_wide * CELL_W, .y = cell / p->cells_wide * CELL_H};
	c.columns = p->width - c.x < CELL_W ? p->width - c.x : CELL_W;
	c.rows = p->height - c.y < CELL_H ? p->height - c.y : CELL_H;
	return c;
}

/* Writes out what the viewer has of a cell of one colour. */
static void spread(struct tiles *t, int cell)
{
	if (t->known[cell] != ONE_COLOUR)
		return;
	struct place c = place_of(t->picture, cell);
	size_t stride = (size_t)t->picture->width * 4;
	uint8_t *base = t->base + c.y * stride + (size_t)c.x * 4;
	uint32_t colour;
	memcpy(&colour, base, 4);
	for (int x = 1; x < c.columns; x++)
		memcpy(base + 4 * x, &colour, 4);
	for (int y = 1; y < c.rows; y++)
		memcpy(base + y * stride, base, (size_t)c.columns * 4);
	t->known[cell] = PIXELS;
}

void tiles_spread(struct tiles *t)
{
	for (int i = 0; i < t->count; i++)
		spread(t, i);
}

size_t tiles_code(struct tiles *t, int cell, uint8_t *out, uint32_t *hash)
{
	const struct picture *p = t->picture;
	struct place c = place_of(p, cell);
	size_t stride = (size_t)p->width * 4, at = c.y * stride + (size_t)c.x * 4, row = (size_t)c.columns * 4;
	const uint8_t *from = p->bgrx + at;
	uint8_t *base = t->base + at;
	uint32_t now[TILE_PIXELS], before[TILE_PIXELS], h = fnv_basis ^ (uint32_t)cell;
	if (plain(from, stride, c.columns, c.rows)) {
		memcpy(base, from, 4);
		t->known[cell] = ONE_COLOUR;
		*hash = (h ^ colour_at(from)) * fnv_prime;
		memcpy(out, (uint8_t[]){PLAIN, from[2], from[1], from[0]}, 4);
		return 4;
	}
	spread(t, cell);
	int n = 0;
	for (int y = 0; y < c.rows; y++)
		for (int x = 0; x < c.columns; x++) {
			uint32_t v = colour_at(from + y * stride + 4 * x);
			now[n++] = v;
			h = (h ^ v) * fnv_prime;
		}
	*hash = h;
	if (t->known[cell])
		for (int y = 0, i = 0; y < c.rows; y++)
			for (int x = 0; x < c.columns; x++)
				before[i++] = colour_at(base + y * stride + 4 * x);
	uint8_t *end = code(now, c.columns, n, t->known[cell] ? before : NULL, out + 1);
	if (end) {
		out[0] = t->known[cell] ? DELTA : FRESH;
	} else {
		out[0] = RAW;
		end = out + 1;
		for (int i = 0; i < n; i++) {
			*end++ = now[i];
			*end++ = now[i] >> 8;
			*end++ = now[i] >> 16;
		}
	}
	for (int y = 0; y < c.rows; y++)
		memcpy(base + y * stride, from + y * stride, row);
	t->known[cell] = PIXELS;
	return end - out;
}
