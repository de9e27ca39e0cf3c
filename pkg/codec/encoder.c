#include "encoder.h"

#include <stdlib.h>
#include <string.h>
#include <x264.h>

int encoder_encode(struct encoder *e, struct picture *p, const struct wish *w, struct encoded *out)
{
	int failed = e->encode(e, p, w, out);
	if (!failed)
		picture_encoded(p);
	return failed;
}

void encoder_close(struct encoder *e)
{
	e->close(e);
}

int encoder_quantizer(int qp)
{
	/* H.264's step is 0.625 * 2^(qp/6); theirs, an eighth of a table's entry, is looked for in every fourth entry. */
	static const uint8_t nearest[] = {
		0,  0,  0,  1,  1,  1,  1,  1,  1,  2,  2,  3,  3,  4,  5,  5,  6,  7,  8,  9,  11, 12, 14, 16, 18, 21,
		23, 25, 27, 29, 31, 32, 34, 36, 37, 39, 41, 42, 44, 45, 47, 48, 50, 52, 53, 55, 56, 58, 59, 61, 62, 63,
	};
	return nearest[qp < 0 ? 0 : qp > 51 ? 51 : qp];
}

int active_map_init(struct active_map *m, int width, int height)
{
	m->wide = (width + MB - 1) / MB;
	m->high = (height + MB - 1) / MB;
	m->active = calloc((size_t)m->wide * m->high, 1);
	m->coded_qp = malloc((size_t)m->wide * m->high);
	if (!m->active || !m->coded_qp)
		return -1;
	memset(m->coded_qp, 255, (size_t)m->wide * m->high);
	return 0;
}

void active_map_free(struct active_map *m)
{
	free(m->active);
	free(m->coded_qp);
}

void active_map_plan(struct active_map *m, const struct picture *p, const struct wish *w)
{
	for (int i = 0; i < m->wide * m->high; i++) {
		int changed = p->mb_info[i] != X264_MBINFO_CONSTANT;
		m->active[i] = w->key || changed || (w->refine && m->coded_qp[i] > w->qp);
		if (m->active[i])
			m->coded_qp[i] = w->qp;
	}
}
