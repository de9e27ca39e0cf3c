/* What the doubles of libcuda.so.1 and libnvidia-encode.so.1 share: their state, which lies in the folder that they were loaded from.
 *
 * devices   a device a line: UUID, the card's UUID (the same but for MIG devices), name
 * faults    key=value a line, read at each call: what goes wrong
 * calls     written: a line for each call that counts, and "violation: …" for each that breaks the API's contract */
#pragma once
#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/nvEncodeAPI.h>
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

enum { CONTEXT_MAGIC = 0x0c04e87, MAX_ALLOCATIONS = 64 };

struct allocation {
	unsigned char *base;
	size_t pitch, rows;
	int registered; /* with how many sessions */
};

/* CUcontext points to one. */
struct context {
	int magic;
	int sessions; /* of NVENC that use it */
	long thread;  /* that it is current on */
	char name[96];
	struct allocation allocations[MAX_ALLOCATIONS];
	size_t copied; /* bytes, since NVENC encoded last */
	int copies;
};

/* Each library has its own copy of these, of double.c. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The value of a fault, or otherwise. */
long fault(const char *key, long otherwise);
/* Sleeps until the fault is taken back. */
void hang_while(const char *key, long value);
long this_thread(void);
/* Opens a file of the folder. */
int folder_file(const char *name, int flags);
