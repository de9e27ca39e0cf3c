#include "colour.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* What a pixel's blue, green and red count for, in 1/32768, and what black and grey are: libyuv's conversions count in 1/128 and 1/256, which is off
 * by a level or two. The first of each is BT.601 in the short range, the second BT.709 in the whole. */
enum { BITS = 15, GREY = 128 };
static const int16_t of_y[2][3] = {{3208, 16519, 8414}, {2366, 23436, 6966}};
static const int16_t of_u[2][3] = {{14392, -9535, -4857}, {16384, -12630, -3754}};
static const int16_t of_v[2][3] = {{-2341, -12052, 14392}, {-1502, -14882, 16384}};
static const int black[2] = {16, 0};

static uint8_t clamp(int v)
{
	return v < 0 ? 0 : v > 255 ? 255 : v;
}

/* The sum of a few pixels, of which there are 2^more. */
static uint8_t weigh(const int bgr[3], const int16_t w[3], int middle, int more)
{
	int bits = BITS + more;
	return clamp((bgr[0] * w[0] + bgr[1] * w[1] + bgr[2] * w[2] + (middle << bits) + (1 << (bits - 1))) >> bits);
}

static void plain_luma(const uint8_t *p, uint8_t *y, int pixels, int full)
{
	for (int i = 0; i < pixels; i++, p += 4)
		y[i] = weigh((int[]){p[0], p[1], p[2]}, of_y[full], black[full], 0);
}

static void plain_444(const uint8_t *p, uint8_t *u, uint8_t *v, int pixels, int full)
{
	for (int i = 0; i < pixels; i++, p += 4) {
		int bgr[] = {p[0], p[1], p[2]};
		u[i] = weigh(bgr, of_u[full], GREY, 0);
		v[i] = weigh(bgr, of_v[full], GREY, 0);
	}
}

static void plain_420(const uint8_t *p, const uint8_t *q, uint8_t *u, uint8_t *v, int pixels, int full)
{
	for (int i = 0; i < pixels / 2; i++, p += 8, q += 8) {
		int bgr[] = {p[0] + p[4] + q[0] + q[4], p[1] + p[5] + q[1] + q[5], p[2] + p[6] + q[2] + q[6]};
		u[i] = weigh(bgr, of_u[full], GREY, 2);
		v[i] = weigh(bgr, of_v[full], GREY, 2);
	}
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))
#define INLINE __attribute__((target("avx2"), always_inline)) static inline

/* So many pixels are converted at once. */
enum { STEP = 32 };

/* Eight pixels: blue and red as words, and green, beside which nothing counts. */
struct eight {
	__m256i br, g;
};

/* The weights of these, and what is added before the shift. */
struct weights {
	__m256i br, g, add;
};

AVX2 static struct weights weights(const int16_t w[3], int middle, int more)
{
	int bits = BITS + more;
	return (struct weights){_mm256_set1_epi32((uint16_t)w[0] | (uint32_t)(uint16_t)w[2] << 16), _mm256_set1_epi32((uint16_t)w[1]),
				_mm256_set1_epi32((middle << bits) + (1 << (bits - 1)))};
}

INLINE struct eight eight(const uint8_t *p)
{
	__m256i x = _mm256_loadu_si256((const __m256i *)p);
	return (struct eight){_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(x, 8)};
}

INLINE __m256i weighed(struct eight e, struct weights w, int more)
{
	__m256i sum = _mm256_add_epi32(_mm256_madd_epi16(e.br, w.br), _mm256_madd_epi16(e.g, w.g));
	return _mm256_srai_epi32(_mm256_add_epi32(sum, w.add), BITS + more);
}

/* One value for each of 32 pixels. */
INLINE void each(uint8_t *to, const struct eight e[4], struct weights w)
{
	__m256i a = _mm256_packs_epi32(weighed(e[0], w, 0), weighed(e[1], w, 0)), b = _mm256_packs_epi32(weighed(e[2], w, 0), weighed(e[3], w, 0));
	/* Both packings go by halves: fours of pixels lie as 0 2 4 6 | 1 3 5 7. */
	__m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	_mm256_storeu_si256((__m256i *)to, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order));
}

/* The sums of neighbours among 16 pixels, pairs of which lie as 0 2 | 1 3. */
INLINE __m256i neighbours(__m256i a, __m256i b)
{
	__m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
	return _mm256_add_epi16(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88)), _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xdd)));
}

INLINE struct eight squares(const struct eight p[2], const struct eight q[2])
{
	return (struct eight){neighbours(_mm256_add_epi16(p[0].br, q[0].br), _mm256_add_epi16(p[1].br, q[1].br)),
			      neighbours(_mm256_add_epi16(p[0].g, q[0].g), _mm256_add_epi16(p[1].g, q[1].g))};
}

AVX2 static int yuv444_avx2(const uint8_t *p, uint8_t *y, uint8_t *u, uint8_t *v, int pixels, int full)
{
	struct weights wy = weights(of_y[full], black[full], 0), wu = weights(of_u[full], GREY, 0), wv = weights(of_v[full], GREY, 0);
	int i = 0;
	for (; i + STEP <= pixels; i += STEP, p += 4 * STEP) {
		struct eight e[4] = {eight(p), eight(p + 32), eight(p + 64), eight(p + 96)};
		if (y)
			each(y + i, e, wy);
		each(u + i, e, wu);
		each(v + i, e, wv);
	}
	return i;
}

AVX2 static int yuv420_avx2(const uint8_t *p, const uint8_t *q, uint8_t *yp, uint8_t *yq, uint8_t *u, uint8_t *v, int pixels, int full)
{
	struct weights wy = weights(of_y[full], black[full], 0), wu = weights(of_u[full], GREY, 2), wv = weights(of_v[full], GREY, 2);
	int i = 0;
	for (; i + STEP <= pixels; i += STEP, p += 4 * STEP, q += 4 * STEP) {
		struct eight ep[4] = {eight(p), eight(p + 32), eight(p + 64), eight(p + 96)};
		struct eight eq[4] = {eight(q), eight(q + 32), eight(q + 64), eight(q + 96)};
		if (yp) {
			each(yp + i, ep, wy);
			each(yq + i, eq, wy);
		}
		struct eight a = squares(ep, eq), b = squares(ep + 2, eq + 2);
		__m256i blue = _mm256_packs_epi32(weighed(a, wu, 2), weighed(b, wu, 2)), red = _mm256_packs_epi32(weighed(a, wv, 2), weighed(b, wv, 2));
		__m256i all = _mm256_packus_epi16(blue, red);
		__m128i even = _mm256_castsi256_si128(all), odd = _mm256_extracti128_si256(all, 1);
		_mm_storeu_si128((__m128i *)(u + i / 2), _mm_unpacklo_epi16(even, odd));
		_mm_storeu_si128((__m128i *)(v + i / 2), _mm_unpackhi_epi16(even, odd));
	}
	return i;
}

static int vectors(void)
{
	return __builtin_cpu_supports("avx2");
}
#else
static int vectors(void)
{
	return 0;
}

#define yuv444_avx2(...) 0
#define yuv420_avx2(...) 0
#endif

void colour_444(const uint8_t *bgrx, uint8_t *y, uint8_t *u, uint8_t *v, int pixels, int full)
{
	int done = vectors() ? yuv444_avx2(bgrx, y, u, v, pixels, full) : 0;
	bgrx += 4 * done;
	pixels -= done;
	if (y)
		plain_luma(bgrx, y + done, pixels, full);
	plain_444(bgrx, u + done, v + done, pixels, full);
}

void colour_420(const uint8_t *bgrx, const uint8_t *below, uint8_t *y, uint8_t *y_below, uint8_t *u, uint8_t *v, int pixels, int full)
{
	int done = vectors() ? yuv420_avx2(bgrx, below, y, y_below, u, v, pixels, full) : 0;
	bgrx += 4 * done;
	below += 4 * done;
	pixels -= done;
	if (y) {
		plain_luma(bgrx, y + done, pixels, full);
		plain_luma(below, y_below + done, pixels, full);
	}
	plain_420(bgrx, below, u + done / 2, v + done / 2, pixels, full);
}
