/*
 * The records that come over the pen socket, checked before anything else sees them. No X in here, so that it can be tested and
 * fuzzed by itself. ARCHITECTURE.md ("The pen driver <-> streamer") describes the bytes.
 */
#ifndef EASEL_PEN_WIRE_H
#define EASEL_PEN_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum {
	PEN_RECORD_SIZE = 24,
	PEN_MAX_RECORDS = 64,
	PEN_MAX_PACKET = PEN_RECORD_SIZE * PEN_MAX_RECORDS,
	PEN_BUTTONS = 9,              /* X's numbering: 1 left, 2 middle, 3 right, 8 back, 9 forward */
	PEN_MAX_POSITION = 32767 * 256 + 255, /* an X screen has at most 32767 pixels a side */
	PEN_MAX_TILT = 6400,          /* 1/100 degree: the range of the pens that painting programs were made with */
	PEN_MAX_TWIST = 35999,        /* 1/100 degree */
	PEN_MAX_SCROLL = 120 * 256 * 100, /* 1/256 of 1/120 notch: a hundred notches in one record is no hand's doing */
};

enum pen_kind { PEN_MOTION, PEN_PRESS, PEN_RELEASE, PEN_PROXIMITY_IN, PEN_PROXIMITY_OUT, PEN_SCROLL, PEN_SYNC, PEN_KINDS };

enum pen_device { PEN_DEVICE_POINTER, PEN_DEVICE_PEN, PEN_DEVICE_ERASER, PEN_DEVICES };

struct pen_record {
	enum pen_kind kind;
	enum pen_device device;
	int button;     /* 1..PEN_BUTTONS for a press or release, else 0 */
	int32_t x, y;   /* 1/256 pixel, or 1/256 of 1/120 notch when scrolling */
	int pressure;   /* 0..65535 */
	int tilt_x, tilt_y;
	int twist;
	uint32_t time_ms; /* of a sync: what is answered */
};

/*
 * Decodes a packet of length bytes into records, which has room for PEN_MAX_RECORDS. Values out of range are clamped; a record that
 * names no kind, device or button of ours is left out and counted in *skipped. Returns how many records there are, or -1 when the
 * packet is not a whole number of 1..PEN_MAX_RECORDS records.
 */
int pen_wire_decode(const uint8_t *packet, size_t length, struct pen_record *records, unsigned *skipped);

#endif
