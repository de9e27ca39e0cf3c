#include "picture.h"
#include "colour.h"

#include <libyuv.h>
#include <stdlib.h>
#include <string.h>
#include <x264.h>

/* Black pixels that begin where a page does, as the shared picture does: glibc copies rows by "rep movsb", which Zen 3 and 4 do ten times
 * slower where the two lie a few bytes apart within a page, as malloc would have it (glibc BZ 30994). */
static uint8_t *pixels_new(size_t bytes)
{
	enum { PAGE = 4096 };
	size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
	uint8_t *pixels = aligned_alloc(PAGE, whole);
	if (pixels)
		memset(pixels, 0, whole);
	return pixels;
}

struct picture *picture_new(int width, int height, int yuv444, int full)
{
	struct picture *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->width = width;
	p->height = height;
	p->mb_width = (width + MB - 1) / MB;
	p->mb_height = (height + MB - 1) / MB;
	p->stride[0] = width;
	size_t pixels = (size_t)width * height;
	p->bgrx = pixels_new(pixels * 4);
	p->plane[0] = malloc(pixels);
	p->mb_info = calloc((size_t)p->mb_width * p->mb_height, 1);
	p->cells_wide = (width + CELL_W - 1) / CELL_W;
	p->cells_high = (height + CELL_H - 1) / CELL_H;
	size_t cells = (size_t)p->cells_wide * p->cells_high;
	p->detail = calloc(cells, sizeof *p->detail);
	p->state = calloc(cells, 1);
	/* Black in both forms, so that the two agree from the start. */
	if (!p->bgrx || !p->plane[0] || !p->mb_info || !p->detail || !p->state || picture_set_colours(p, yuv444, full)) {
		picture_free(p);
		return NULL;
	}
	return p;
}

void picture_free(struct picture *p)
{
	if (!p)
		return;
	free(p->bgrx);
	for (int i = 0; i < 3; i++)
		free(p->plane[i]);
	free(p->mb_info);
	free(p->detail);
	free(p->state);
	free(p);
}

static int differs(const uint8_t *a, size_t a_stride, const uint8_t *b, size_t b_stride, size_t bytes, int rows)
{
	for (int i = 0; i < rows; i++)
		if (memcmp(a + i * a_stride, b + i * b_stride, bytes))
			return 1;
	return 0;
}

/* The sum of the differences of two rows. */
__attribute__((optimize("O3"))) static uint32_t steps(const uint8_t *a, const uint8_t *b, int pixels)
{
	uint32_t sum = 0;
	for (int i = 0; i < pixels; i++)
		sum += abs(a[i] - b[i]);
	return sum;
}

/* The sum of the steps from pixels to the one right of them and the one below, in every second row. */
static uint32_t detail_of(const uint8_t *luma, int stride, int columns, int rows)
{
	uint32_t sum = 0;
	for (int i = 0; i + 1 < rows; i += 2, luma += 2 * (size_t)stride) {
		if (columns == CELL_W) /* vectors make nothing of 63 */
			sum += steps(luma, luma + 1, CELL_W - 16) + steps(luma + CELL_W - 16, luma + CELL_W - 15, 15) + steps(luma, luma + stride, CELL_W);
		else
			sum += steps(luma, luma + 1, columns - 1) + steps(luma, luma + stride, columns);
	}
	return sum;
}

/* Brings the detail of a run of cells up to date. Runs of different rows may come at once. What changes again before it is encoded counts once. */
static void measure(struct picture *p, int x0, int x1, int y, int rows)
{
	uint64_t now = 0, before = 0, counted = 0;
	for (int x = x0; x < x1; x += CELL_W) {
		size_t cell = (size_t)(y / CELL_H) * p->cells_wide + x / CELL_W;
		before += p->detail[cell];
		if (p->state[cell] & CELL_UNENCODED)
			counted += p->detail[cell];
		p->detail[cell] = detail_of(p->plane[0] + (size_t)y * p->stride[0] + x, p->stride[0], x1 - x < CELL_W ? x1 - x : CELL_W, rows);
		p->state[cell] = CELL_UNENCODED | CELL_UNLISTED;
		now += p->detail[cell];
	}
	__atomic_fetch_add(&p->detail_changed, now - counted, __ATOMIC_RELAXED);
	__atomic_fetch_add(&p->detail_all, now - before, __ATOMIC_RELAXED);
}

/* Makes the encoder's pixels [x0, x1) of some rows of ours, an even number of them. */
static void convert(struct picture *p, int x0, int x1, int y, int rows)
{
	size_t stride = (size_t)p->width * 4;
	const uint8_t *from = p->bgrx + y * stride + (size_t)x0 * 4;
	int part = p->yuv444 ? 1 : 2;
	uint8_t *luma = p->plane[0] + (size_t)y * p->stride[0] + x0;
	uint8_t *u = p->plane[1] + (size_t)(y / part) * p->stride[1] + x0 / part, *v = p->plane[2] + (size_t)(y / part) * p->stride[2] + x0 / part;
	for (int i = 0; i < rows; i += part) {
		if (p->yuv444)
			colour_444(from, luma, u, v, x1 - x0, p->full);
		else
			colour_420(from, from + stride, luma, luma + p->stride[0], u, v, x1 - x0, p->full);
		from += part * stride;
		luma += part * (size_t)p->stride[0];
		u += p->stride[1];
		v += p->stride[2];
	}
}

int picture_set_colours(struct picture *p, int yuv444, int full)
{
	int stride = yuv444 ? p->width : p->width / 2;
	size_t size = (size_t)stride * (yuv444 ? p->height : p->height / 2);
	uint8_t *u = malloc(size), *v = malloc(size);
	if (!u || !v) {
		free(u);
		free(v);
		return -1;
	}
	free(p->plane[1]);
	free(p->plane[2]);
	p->plane[1] = u;
	p->plane[2] = v;
	p->stride[1] = p->stride[2] = stride;
	p->yuv444 = yuv444;
	p->full = full;
	convert(p, 0, p->width, 0, p->height);
	memset(p->mb_info, 0, (size_t)p->mb_width * p->mb_height);
	return 0;
}

__attribute__((optimize("O3"))) double picture_colour_loss(const struct picture *p)
{
	size_t lost = 0, seen = 0, stride = (size_t)p->width * 4;
	enum { RUN = 256, STEP = 6 };
	uint8_t u[RUN], v[RUN], mean_u[RUN / 2], mean_v[RUN / 2];
	for (int y = 0; y < p->height; y += STEP)
		for (int x = 0; x < p->width; x += RUN) {
			const uint8_t *at = p->bgrx + y * stride + (size_t)x * 4;
			int n = p->width - x < RUN ? p->width - x : RUN;
			colour_444(at, NULL, u, v, n, 1);
			colour_420(at, at + stride, NULL, NULL, mean_u, mean_v, n, 1);
			for (int i = 0; i < n; i++)
				lost += abs(u[i] - mean_u[i / 2]) > VISIBLE || abs(v[i] - mean_v[i / 2]) > VISIBLE;
			seen += n;
		}
	return (double)lost / seen;
}

/* Copies src's pixels [x0, x1) of one row of cells and converts them while they are still in the cache.
 * The conversion reads our copy: src is shared with the session and may change at any time. */
static void take(struct picture *p, const uint8_t *src, size_t src_stride, int x0, int x1, int y, int rows)
{
	size_t stride = (size_t)p->width * 4;
	uint8_t *to = p->bgrx + y * stride + (size_t)x0 * 4;
	const uint8_t *from = src + y * src_stride + (size_t)x0 * 4;
	for (int i = 0; i < rows; i++)
		memcpy(to + i * stride, from + i * src_stride, (size_t)(x1 - x0) * 4);
	convert(p, x0, x1, y, rows);
	int mb0 = x0 / MB, mb1 = (x1 + MB - 1) / MB;
	memset(p->mb_info + (size_t)(y / MB) * p->mb_width + mb0, 0, mb1 - mb0);
	measure(p, x0, x1, y, rows);
}

int picture_update(struct picture *p, const uint8_t *src, size_t src_stride, int x0, int y0, int x1, int y1)
{
	size_t stride = (size_t)p->width * 4;
	int changed = 0;
	x0 -= x0 % CELL_W;
	y0 -= y0 % CELL_H;
	for (int y = y0; y < y1; y += CELL_H) {
		int rows = p->height - y < CELL_H ? p->height - y : CELL_H;
		int start = -1, x = x0;
		for (; x < x1; x += CELL_W) {
			int columns = p->width - x < CELL_W ? p->width - x : CELL_W;
			size_t at = (size_t)x * 4;
			if (differs(src + y * src_stride + at, src_stride, p->bgrx + y * stride + at, stride, (size_t)columns * 4, rows)) {
				changed++;
				if (start < 0)
					start = x;
			} else if (start >= 0) {
				take(p, src, src_stride, start, x, y, rows);
				start = -1;
			}
		}
		if (start >= 0)
			take(p, src, src_stride, start, x < p->width ? x : p->width, y, rows);
	}
	return changed;
}

void picture_encoded(struct picture *p)
{
	memset(p->mb_info, X264_MBINFO_CONSTANT, (size_t)p->mb_width * p->mb_height);
	for (int i = 0; i < p->cells_wide * p->cells_high; i++)
		p->state[i] &= ~CELL_UNENCODED;
	p->detail_changed = 0;
}

struct box {
	int x0, y0, x1, y1;
};

/* Where cells of a picture have not been encoded. */
static struct box unencoded(const struct picture *p)
{
	struct box b = {p->width, p->height, 0, 0};
	for (int y = 0; y < p->cells_high; y++)
		for (int x = 0; x < p->cells_wide; x++) {
			if (!(p->state[y * p->cells_wide + x] & CELL_UNENCODED))
				continue;
			b.x0 = x * CELL_W < b.x0 ? x * CELL_W : b.x0;
			b.y0 = y * CELL_H < b.y0 ? y * CELL_H : b.y0;
			b.x1 = (x + 1) * CELL_W > b.x1 ? (x + 1) * CELL_W : b.x1;
			b.y1 = (y + 1) * CELL_H > b.y1 ? (y + 1) * CELL_H : b.y1;
		}
	return b;
}

/* What of p shows that much of a larger picture, with the pixels beside it, into which scaling mixes the edge. */
static struct box shrunk(struct box b, const struct picture *from, const struct picture *p)
{
	struct box s = {
		b.x0 * p->width / from->width - 1,
		b.y0 * p->height / from->height - 1,
		(b.x1 * p->width + from->width - 1) / from->width + 1,
		(b.y1 * p->height + from->height - 1) / from->height + 1,
	};
	/* Whole cells: libyuv rounds a row's last few pixels otherwise, and a pixel must not depend on what else changes. */
	s.x0 = s.x0 < 0 ? 0 : s.x0 - s.x0 % CELL_W;
	s.y0 = s.y0 < 0 ? 0 : s.y0;
	s.x1 += CELL_W - 1 - (s.x1 - 1) % CELL_W;
	s.x1 = s.x1 > p->width ? p->width : s.x1;
	s.y1 = s.y1 > p->height ? p->height : s.y1;
	return s;
}

int picture_shrink(struct picture *p, struct picture *from, uint8_t *scaled, int all)
{
	struct box b = {0, 0, from->width, from->height};
	if (!all)
		b = unencoded(from);
	if (b.x0 >= b.x1)
		return 0;
	b = shrunk(b, from, p);
	if (ARGBScaleClip(from->bgrx, from->width * 4, from->width, from->height, scaled, p->width * 4, p->width, p->height, b.x0, b.y0, b.x1 - b.x0,
			  b.y1 - b.y0, kFilterBox))
		return -1;
	picture_update(p, scaled, (size_t)p->width * 4, b.x0, b.y0, b.x1, b.y1);
	picture_encoded(from);
	return 0;
}
