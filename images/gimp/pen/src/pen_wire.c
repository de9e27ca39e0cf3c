#include "pen_wire.h"

static uint16_t u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int32_t clamp(int32_t value, int32_t low, int32_t high)
{
	return value < low ? low : value > high ? high : value;
}

/* Decodes one record; returns 0 when it names something that we do not have. */
static int decode(const uint8_t *p, struct pen_record *r)
{
	int pressing = p[0] == PEN_PRESS || p[0] == PEN_RELEASE;

	if (p[0] >= PEN_KINDS || p[1] >= PEN_DEVICES)
		return 0;
	if (pressing && (p[2] < 1 || p[2] > PEN_BUTTONS))
		return 0;
	if (p[0] == PEN_SCROLL && p[1] != PEN_DEVICE_POINTER)
		return 0;

	int32_t low = 0, high = PEN_MAX_POSITION;
	if (p[0] == PEN_SCROLL) {
		low = -PEN_MAX_SCROLL;
		high = PEN_MAX_SCROLL;
	}
	*r = (struct pen_record){
		.kind = (enum pen_kind)p[0],
		.device = (enum pen_device)p[1],
		.button = pressing ? p[2] : 0,
		.x = clamp((int32_t)u32(p + 4), low, high),
		.y = clamp((int32_t)u32(p + 8), low, high),
		.pressure = u16(p + 12),
		.tilt_x = clamp((int16_t)u16(p + 14), -PEN_MAX_TILT, PEN_MAX_TILT),
		.tilt_y = clamp((int16_t)u16(p + 16), -PEN_MAX_TILT, PEN_MAX_TILT),
		.twist = clamp(u16(p + 18), 0, PEN_MAX_TWIST),
		.time_ms = u32(p + 20),
	};
	return 1;
}

int pen_wire_decode(const uint8_t *packet, size_t length, struct pen_record *records, unsigned *skipped)
{
	int count = 0;

	*skipped = 0;
	if (length == 0 || length > PEN_MAX_PACKET || length % PEN_RECORD_SIZE != 0)
		return -1;
	for (size_t at = 0; at < length; at += PEN_RECORD_SIZE) {
		if (decode(packet + at, &records[count]))
			count++;
		else
			(*skipped)++;
	}
	return count;
}
