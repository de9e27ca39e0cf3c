/* libFuzzer target: whatever comes over the socket, what leaves the parser is within its bounds. */
#include "pen_wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pen_record r[PEN_MAX_RECORDS];
	unsigned skipped = 0;
	int n = pen_wire_decode(data, size, r, &skipped);

	if (n < -1 || n > PEN_MAX_RECORDS || (n >= 0 && (size_t)n + skipped != size / PEN_RECORD_SIZE))
		abort();
	for (int i = 0; i < n; i++) {
		int scrolling = r[i].kind == PEN_SCROLL;
		int low = scrolling ? -PEN_MAX_SCROLL : 0, high = scrolling ? PEN_MAX_SCROLL : PEN_MAX_POSITION;
		if (r[i].kind >= PEN_KINDS || r[i].device >= PEN_DEVICES || r[i].button < 0 || r[i].button > PEN_BUTTONS)
			abort();
		if (r[i].x < low || r[i].x > high || r[i].y < low || r[i].y > high || r[i].pressure < 0 || r[i].pressure > 65535)
			abort();
		if (abs(r[i].tilt_x) > PEN_MAX_TILT || abs(r[i].tilt_y) > PEN_MAX_TILT || r[i].twist < 0 || r[i].twist > PEN_MAX_TWIST)
			abort();
	}
	return 0;
}
