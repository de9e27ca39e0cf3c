#pragma once
#include <stddef.h>
#include <stdint.h>

/* CELL_W x CELL_H pixels are compared, copied and converted together: four macroblocks side by side. */
enum { CELL_W = 64, CELL_H = 16, MB = 16 };

/* What is to be done about a cell that changed: it has not been encoded, and not been listed (tile.h). */
enum { CELL_UNENCODED = 1, CELL_UNLISTED = 2 };

/* A picture that lasts from frame to frame: what the encoder saw last, as BGRX and as I420 or I444. */
struct picture {
	int width, height;
	int yuv444; /* a colour for each pixel, not for four */
	int full;   /* the whole range of a byte, not the short one */
	int mb_width, mb_height;
	uint8_t *bgrx;
	uint8_t *plane[3];
	int stride[3];
	/* X264_MBINFO_CONSTANT for each macroblock that has not changed since the last encoded frame. */
	uint8_t *mb_info;
	/* How much there is to see in each cell: the sum of the steps between neighbouring pixels of its luma. */
	uint32_t *detail;
	uint8_t *state;
	int cells_wide, cells_high;
	/* That of the whole picture, and of what has changed since the last encoded frame. */
	uint64_t detail_all, detail_changed;
};

struct picture *picture_new(int width, int height, int yuv444, int full);
void picture_free(struct picture *p);

/* Takes over what differs from src within the rectangle (clipped by the caller) and returns how many cells did. */
int picture_update(struct picture *p, const uint8_t *src, size_t src_stride, int x0, int y0, int x1, int y1);

/* Goes over to another chroma or range. The planes are made anew of the pixels, so that all is to be encoded. Returns less than 0, and changes nothing, without memory. */
int picture_set_colours(struct picture *p, int yuv444, int full);

/* The part of the pixels, of which one row in six is looked at, whose colour is off by more than VISIBLE where four have one. */
enum { VISIBLE = 16 };
double picture_colour_loss(const struct picture *p);

/* Takes over from a larger picture, scaled, what has not been encoded of it, or all, and says that it has been encoded there. scaled keeps BGRX pixels
 * of p's size from one time to the next. Returns less than 0 if they cannot be scaled. */
int picture_shrink(struct picture *p, struct picture *from, uint8_t *scaled, int all);

/* Says that everything up to now has been encoded. */
void picture_encoded(struct picture *p);
