/* Unit tests of pen_wire.c: each check names what it protects. */
#include "pen_wire.h"

#include <stdio.h>
#include <string.h>

static int failures;

#define CHECK(what, condition)                                                    \
	do {                                                                      \
		if (!(condition)) {                                               \
			fprintf(stderr, "%s:%d: %s: not %s\n", __FILE__, __LINE__, what, #condition); \
			failures++;                                               \
		}                                                                 \
	} while (0)

struct wire {
	uint8_t kind, device, button, zero;
	int32_t x, y;
	uint16_t pressure;
	int16_t tilt_x, tilt_y;
	uint16_t twist;
	uint32_t time_ms;
};

_Static_assert(sizeof(struct wire) == PEN_RECORD_SIZE, "the record has 24 bytes without padding");

/* Decodes one record; returns how many came out. */
static int one(struct wire w, struct pen_record *r, unsigned *skipped)
{
	uint8_t packet[PEN_RECORD_SIZE];
	struct pen_record out[PEN_MAX_RECORDS];

	memcpy(packet, &w, sizeof packet); /* the tests run on little-endian machines, as sessions do */
	int n = pen_wire_decode(packet, sizeof packet, out, skipped);
	if (n == 1)
		*r = out[0];
	return n;
}

static void values_come_through(void)
{
	struct pen_record r;
	unsigned skipped;
	struct wire w = { PEN_PRESS, PEN_DEVICE_PEN, 3, 0, 100 * 256 + 128, 7, 40000, -4500, 1234, 9000, 77 };

	CHECK("a good record", one(w, &r, &skipped) == 1 && skipped == 0);
	CHECK("kind, device, button", r.kind == PEN_PRESS && r.device == PEN_DEVICE_PEN && r.button == 3);
	CHECK("position", r.x == 100 * 256 + 128 && r.y == 7);
	CHECK("hand", r.pressure == 40000 && r.tilt_x == -4500 && r.tilt_y == 1234 && r.twist == 9000 && r.time_ms == 77);
	w.kind = PEN_SYNC;
	CHECK("a sync", one(w, &r, &skipped) == 1 && r.kind == PEN_SYNC && r.time_ms == 77);
	w.kind = PEN_MOTION;
	CHECK("a motion has no button", one(w, &r, &skipped) == 1 && r.button == 0);
}

static void out_of_range_is_clamped(void)
{
	struct pen_record r;
	unsigned skipped;

	one((struct wire){ PEN_MOTION, PEN_DEVICE_PEN, 0, 0, INT32_MIN, INT32_MAX, 65535, INT16_MIN, INT16_MAX, 65535, 0 }, &r, &skipped);
	CHECK("position", r.x == 0 && r.y == PEN_MAX_POSITION);
	CHECK("tilt", r.tilt_x == -PEN_MAX_TILT && r.tilt_y == PEN_MAX_TILT);
	CHECK("twist", r.twist == PEN_MAX_TWIST);
	CHECK("pressure", r.pressure == 65535);
	one((struct wire){ PEN_SCROLL, PEN_DEVICE_POINTER, 0, 0, INT32_MIN, INT32_MAX, 0, 0, 0, 0, 0 }, &r, &skipped);
	CHECK("scroll goes both ways", r.x == -PEN_MAX_SCROLL && r.y == PEN_MAX_SCROLL);
}

static void what_we_do_not_have_is_skipped(void)
{
	struct pen_record r;
	unsigned skipped;
	const struct wire none[] = {
		{ .kind = PEN_KINDS }, { .kind = 255 }, { .device = PEN_DEVICES }, { .kind = PEN_PRESS, .button = 0 },
		{ .kind = PEN_RELEASE, .button = PEN_BUTTONS + 1 }, { .kind = PEN_SCROLL, .device = PEN_DEVICE_PEN },
	};

	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		CHECK("no such thing", one(none[i], &r, &skipped) == 0 && skipped == 1);
}

static void wrong_lengths_are_refused(void)
{
	static uint8_t packet[PEN_MAX_PACKET + PEN_RECORD_SIZE];
	struct pen_record out[PEN_MAX_RECORDS];
	unsigned skipped;
	const size_t wrong[] = { 0, 1, 23, 25, PEN_MAX_PACKET - 1, PEN_MAX_PACKET + 1, PEN_MAX_PACKET + PEN_RECORD_SIZE };

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		CHECK("length", pen_wire_decode(packet, wrong[i], out, &skipped) == -1);
	CHECK("a full packet", pen_wire_decode(packet, PEN_MAX_PACKET, out, &skipped) == PEN_MAX_RECORDS);
}

int main(void)
{
	values_come_through();
	out_of_range_is_clamped();
	what_we_do_not_have_is_skipped();
	wrong_lengths_are_refused();
	return failures != 0;
}
