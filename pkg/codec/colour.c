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

/* So many pixels are converted at once. */
enum { STEP = 32 };

/* The weights for two pixels and two more, and what is added before the shift. */
struct weights {
	__m256i each, add;
};

AVX2 static struct weights weights(const int16_t w[3], int middle, int more)
{
	int bits = BITS + more;
	return (struct weights){_mm256_setr_epi16(w[0], w[1], w[2], 0, w[0], w[1], w[2], 0, w[0], w[1], w[2], 0, w[0], w[1], w[2], 0),
				_mm256_set1_epi32((middle << bits) + (1 << (bits - 1)))};
}

/* Four pixels as words. */
AVX2 static __m256i four(const uint8_t *p)
{
	return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
}

/* Eight pixels as 01 45 | 23 67. */
AVX2 static __m256i eight(__m256i a, __m256i b, const struct weights *w)
{
	return _mm256_hadd_epi32(_mm256_madd_epi16(a, w->each), _mm256_madd_epi16(b, w->each));
}

/* The bytes of 32 sums, each eight of which lie as eight() leaves them. */
AVX2 static void store(uint8_t *to, const __m256i s[4], __m256i add)
{
	__m256i v[4];
	for (int i = 0; i < 4; i++)
		v[i] = _mm256_srai_epi32(_mm256_add_epi32(s[i], add), BITS);
	__m256i all = _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
	__m128i even = _mm256_castsi256_si128(all), odd = _mm256_extracti128_si256(all, 1);
	_mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi16(even, odd));
	_mm_storeu_si128((__m128i *)(to + 16), _mm_unpackhi_epi16(even, odd));
}

AVX2 static int luma_avx2(const uint8_t *p, uint8_t *y, int pixels, int full)
{
	struct weights w = weights(of_y[full], black[full], 0);
	int i = 0;
	for (; i + STEP <= pixels; i += STEP, p += 4 * STEP) {
		__m256i s[4];
		for (int j = 0; j < 4; j++)
			s[j] = eight(four(p + 32 * j), four(p + 32 * j + 16), &w);
		store(y + i, s, w.add);
	}
	return i;
}

AVX2 static int yuv444_avx2(const uint8_t *p, uint8_t *u, uint8_t *v, int pixels, int full)
{
	struct weights wu = weights(of_u[full], GREY, 0), wv = weights(of_v[full], GREY, 0);
	int i = 0;
	for (; i + STEP <= pixels; i += STEP, p += 4 * STEP) {
		__m256i su[4], sv[4];
		for (int j = 0; j < 4; j++) {
			__m256i a = four(p + 32 * j), b = four(p + 32 * j + 16);
			su[j] = eight(a, b, &wu);
			sv[j] = eight(a, b, &wv);
		}
		store(u + i, su, wu.add);
		store(v + i, sv, wv.add);
	}
	return i;
}

/* The sums of pairs among 16 pixels, of which 8 are left: 0 2 4 6 | 1 3 5 7. */
AVX2 static __m256i pairs(const __m256i s[4], const struct weights *w)
{
	return _mm256_hadd_epi32(eight(s[0], s[1], w), eight(s[2], s[3], w));
}

AVX2 static void store_pairs(uint8_t *to, __m256i a, __m256i b, __m256i add)
{
	a = _mm256_srai_epi32(_mm256_add_epi32(a, add), BITS + 2);
	b = _mm256_srai_epi32(_mm256_add_epi32(b, add), BITS + 2);
	__m256i all = _mm256_packs_epi32(a, b);
	__m128i even = _mm256_castsi256_si128(all), odd = _mm256_extracti128_si256(all, 1);
	_mm_storeu_si128((__m128i *)to, _mm_packus_epi16(_mm_unpacklo_epi16(even, odd), _mm_unpackhi_epi16(even, odd)));
}

AVX2 static int yuv420_avx2(const uint8_t *p, const uint8_t *q, uint8_t *u, uint8_t *v, int pixels, int full)
{
	struct weights wu = weights(of_u[full], GREY, 2), wv = weights(of_v[full], GREY, 2);
	int i = 0;
	for (; i + STEP <= pixels; i += STEP, p += 4 * STEP, q += 4 * STEP) {
		__m256i s[8];
		for (int j = 0; j < 8; j++)
			s[j] = _mm256_add_epi16(four(p + 16 * j), four(q + 16 * j));
		store_pairs(u + i / 2, pairs(s, &wu), pairs(s + 4, &wu), wu.add);
		store_pairs(v + i / 2, pairs(s, &wv), pairs(s + 4, &wv), wv.add);
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

#define luma_avx2(...) 0
#define yuv444_avx2(...) 0
#define yuv420_avx2(...) 0
#endif

void colour_luma(const uint8_t *bgrx, uint8_t *y, int pixels, int full)
{
	int done = vectors() ? luma_avx2(bgrx, y, pixels, full) : 0;
	plain_luma(bgrx + 4 * done, y + done, pixels - done, full);
}

void colour_444(const uint8_t *bgrx, uint8_t *u, uint8_t *v, int pixels, int full)
{
	int done = vectors() ? yuv444_avx2(bgrx, u, v, pixels, full) : 0;
	plain_444(bgrx + 4 * done, u + done, v + done, pixels - done, full);
}

void colour_420(const uint8_t *bgrx, const uint8_t *below, uint8_t *u, uint8_t *v, int pixels, int full)
{
	int done = vectors() ? yuv420_avx2(bgrx, below, u, v, pixels, full) : 0;
	plain_420(bgrx + 4 * done, below + 4 * done, u + done / 2, v + done / 2, pixels - done, full);
}
