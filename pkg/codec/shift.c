#include "tile.h"

#include <stdlib.h>
#include <string.h>

/* What moved is found by probes: some pixels that the viewer has are looked for in the picture, and most of them are as far away. */
enum {
	PROBES = 24,
	PROBE = 16,	 /* pixels: few are alike, even of letters in two colours */
	PROBE_STEPS = 3, /* from pixel to pixel that a probe has at least: of one colour there is much */
	NEAR = 96,	 /* pixels, in which a move may be slanted */
	FOUND = 8,	 /* places where one probe may be found: more say nothing */
	LEAST = 4,	 /* probes that agree */
};

struct probe {
	int x, y;
};

struct vote {
	int dx, dy, votes;
};

struct poll {
	struct vote vote[PROBES * FOUND];
	int n;
};

static const uint8_t *pixel(const struct picture *p, const uint8_t *pixels, int x, int y)
{
	return pixels + ((size_t)y * p->width + x) * 4;
}

static int steps_in(const uint8_t *probe)
{
	int steps = 0;
	for (int i = 1; i < PROBE; i++)
		steps += memcmp(probe + 4 * (i - 1), probe + 4 * i, 4) != 0;
	return steps;
}

/* The place in what the viewer has of a cell that is least like others. Returns 0 if all of it is too much like others. */
static int choose(const struct tiles *t, int cell, struct probe *best)
{
	const struct picture *p = t->picture;
	struct place c = place_of(p, cell);
	int most = PROBE_STEPS - 1;
	for (int y = c.y + 1; y < c.y + c.rows; y += 2)
		for (int x = c.x; x + PROBE <= c.x + c.columns; x += PROBE) {
			int steps = steps_in(pixel(p, t->base, x, y));
			if (steps > most) {
				most = steps;
				*best = (struct probe){x, y};
			}
		}
	return most >= PROBE_STEPS;
}

/* Whether a probe is in the picture, so far from where the viewer has it. */
static int is_off(const struct tiles *t, struct probe at, int dx, int dy)
{
	const struct picture *p = t->picture;
	int x = at.x - dx, y = at.y - dy;
	return x >= 0 && y >= 0 && x + PROBE <= p->width && y < p->height && !memcmp(pixel(p, p->bgrx, x, y), pixel(p, t->base, at.x, at.y), PROBE * 4);
}

/* Where a probe is found, but for its own place: straight up or down, left or right, and close by any way. Returns how often. */
static int look(const struct tiles *t, struct probe at, struct probe *found)
{
	const struct picture *p = t->picture;
	const uint8_t *probe = pixel(p, t->base, at.x, at.y);
	int n = 0;
	for (int y = 0; y < p->height && n < FOUND; y++) {
		int close = abs(y - at.y) <= NEAR;
		int x = y == at.y ? 0 : close ? at.x - NEAR : at.x, end = y == at.y ? p->width : close ? at.x + NEAR : at.x + 1;
		x = x < 0 ? 0 : x;
		end = end > p->width - PROBE + 1 ? p->width - PROBE + 1 : end;
		const uint8_t *row = pixel(p, p->bgrx, 0, y);
		uint64_t first, here;
		memcpy(&first, probe, 8);
		for (; x < end && n < FOUND; x++) {
			memcpy(&here, row + 4 * (size_t)x, 8);
			if (here == first && !memcmp(row + 4 * (size_t)x, probe, PROBE * 4) && (x != at.x || y != at.y))
				found[n++] = (struct probe){x, y};
		}
	}
	return n;
}

static void elect(struct poll *poll, int dx, int dy)
{
	for (int i = 0; i < poll->n; i++)
		if (poll->vote[i].dx == dx && poll->vote[i].dy == dy) {
			poll->vote[i].votes++;
			return;
		}
	poll->vote[poll->n++] = (struct vote){dx, dy, 1};
}

/* Chooses probes among the cells. Those that have not moved tell nothing. */
static int probes(const struct tiles *t, const uint16_t *cells, int n, struct probe *probe)
{
	int found = 0;
	for (int i = 0; i < PROBES && i < n; i++) {
		int cell = cells[(size_t)i * n / (n < PROBES ? n : PROBES)];
		if (choose(t, cell, &probe[found]) && !is_off(t, probe[found], 0, 0))
			found++;
	}
	return found;
}

int tiles_find(struct tiles *t, const uint16_t *cells, int n, int *dx, int *dy)
{
	struct probe probe[PROBES], found[FOUND];
	tiles_spread(t);
	int all = probes(t, cells, n, probe), right = 0;
	if (all < LEAST)
		return 0;
	for (int i = 0; i < all && (*dx || *dy); i++)
		right += is_off(t, probe[i], *dx, *dy);
	if (right * 2 > all)
		return 1;
	struct poll poll = {.n = 0};
	for (int i = 0; i < all; i++) {
		int places = look(t, probe[i], found);
		for (int j = 0; j < places && places < FOUND; j++)
			elect(&poll, probe[i].x - found[j].x, probe[i].y - found[j].y);
	}
	struct vote best = {0};
	for (int i = 0; i < poll.n; i++)
		if (poll.vote[i].votes > best.votes)
			best = poll.vote[i];
	*dx = best.dx;
	*dy = best.dy;
	return best.votes >= LEAST && best.votes * 4 >= all;
}

/* Compares a row of cells, pixel row by pixel row: so memory is read in its order. */
static void same_row(const struct tiles *t, struct rect of, int row, int dx, int dy, uint8_t *same)
{
	const struct picture *p = t->picture;
	struct place first = place_of(p, row * p->cells_wide);
	for (int y = first.y; y < first.y + first.rows; y++)
		for (int column = of.x0; column < of.x1; column++) {
			int x = column * CELL_W, pixels = p->width - x < CELL_W ? p->width - x : CELL_W;
			if (!same[column - of.x0])
				continue;
			same[column - of.x0] = y + dy >= 0 && y + dy < p->height && x + dx >= 0 && x + dx + pixels <= p->width &&
					       !memcmp(pixel(p, p->bgrx, x, y), pixel(p, t->base, x + dx, y + dy), (size_t)pixels * 4);
		}
}

void tiles_same(struct tiles *t, struct rect of, int dx, int dy, uint8_t *same)
{
	tiles_spread(t);
	memset(same, 1, (size_t)(of.x1 - of.x0) * (of.y1 - of.y0));
	for (int row = of.y0; row < of.y1; row++)
		same_row(t, of, row, dx, dy, same + (size_t)(row - of.y0) * (of.x1 - of.x0));
}

/* Whether a line of pixels, each so many bytes after the one before, is what the viewer has so far away, for three quarters of it: something may lie over what
 * moved. */
static int line_came(const struct tiles *t, int x, int y, int dx, int dy, size_t step, int pixels)
{
	const struct picture *p = t->picture;
	if (x < 0 || y < 0 || x >= p->width || y >= p->height || x + dx < 0 || y + dy < 0 || x + dx >= p->width || y + dy >= p->height)
		return 0;
	const uint8_t *now = pixel(p, p->bgrx, x, y), *before = pixel(p, t->base, x + dx, y + dy);
	int came = 0;
	for (int i = 0; i < pixels; i++)
		came += !memcmp(now + i * step, before + i * step, 4);
	return came * 4 >= pixels * 3;
}

struct rect tiles_grow(struct tiles *t, struct rect r, int dx, int dy)
{
	size_t stride = (size_t)t->picture->width * 4;
	tiles_spread(t);
	for (int i = 1; i < CELL_H && line_came(t, r.x0, r.y0 - 1, dx, dy, 4, r.x1 - r.x0); i++)
		r.y0--;
	for (int i = 1; i < CELL_H && line_came(t, r.x0, r.y1, dx, dy, 4, r.x1 - r.x0); i++)
		r.y1++;
	for (int i = 1; i < CELL_W && line_came(t, r.x0 - 1, r.y0, dx, dy, stride, r.y1 - r.y0); i++)
		r.x0--;
	for (int i = 1; i < CELL_W && line_came(t, r.x1, r.y0, dx, dy, stride, r.y1 - r.y0); i++)
		r.x1++;
	return r;
}

void tiles_shift(struct tiles *t, struct rect r, int dx, int dy)
{
	const struct picture *p = t->picture;
	tiles_spread(t);
	/* A row is read before it is written over. */
	for (int i = 0; i < r.y1 - r.y0; i++) {
		int y = dy > 0 ? r.y0 + i : r.y1 - 1 - i;
		memmove((uint8_t *)pixel(p, t->base, r.x0, y), pixel(p, t->base, r.x0 + dx, y + dy), (size_t)(r.x1 - r.x0) * 4);
	}
	for (int y = r.y0 / CELL_H; y * CELL_H < r.y1; y++)
		for (int x = r.x0 / CELL_W; x * CELL_W < r.x1; x++)
			t->known[y * p->cells_wide + x] = PIXELS;
}
