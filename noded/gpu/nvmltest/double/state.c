// The files, the handles, and the faults that all calls share.
#define _GNU_SOURCE
#include "double.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static int opened; // by nvmlInit, counted

static const char *directory(void)
{
	const char *dir = getenv("EASEL_NVML_DOUBLE");
	return dir ? dir : "/nonexistent";
}

static void path(char *out, size_t size, int card, const char *name)
{
	if (card < 0)
		snprintf(out, size, "%s/%s", directory(), name);
	else
		snprintf(out, size, "%s/card%d/%s", directory(), card, name);
}

static FILE *open_file(int card, const char *name, const char *mode)
{
	char file[4096];
	path(file, sizeof file, card, name);
	return fopen(file, mode);
}

int card_count(void)
{
	char file[4096];
	int n = 0;
	for (; n < MAX_CARDS; n++) {
		path(file, sizeof file, n, "uuid");
		if (access(file, R_OK))
			break;
	}
	return n;
}

int read_text(int card, const char *name, char *out, size_t size)
{
	FILE *f = open_file(card, name, "re");
	if (!f)
		return 0;
	if (!fgets(out, (int)size, f))
		out[0] = 0;
	out[strcspn(out, "\n")] = 0;
	fclose(f);
	return 1;
}

long long read_number(int card, const char *name, long long otherwise)
{
	char text[64];
	return read_text(card, name, text, sizeof text) ? strtoll(text, NULL, 10) : otherwise;
}

void read_table(int card, const char *name, struct table *t)
{
	char line[512];
	FILE *f = open_file(card, name, "re");
	t->count = 0;
	if (!f)
		return;
	while (t->count < MAX_ROWS && fgets(line, sizeof line, f)) {
		struct row *r = &t->rows[t->count];
		char *at = line, *end;
		memset(r, 0, sizeof *r);
		for (; r->count < MAX_COLUMNS; r->count++, at = end) {
			r->n[r->count] = strtoll(at, &end, 10);
			if (end == at || (*end != ' ' && *end != '\n' && *end != 0))
				break;
		}
		while (*at == ' ')
			at++;
		at[strcspn(at, "\n")] = 0;
		snprintf(r->text, sizeof r->text, "%.95s", at);
		t->count++;
	}
	fclose(f);
}

int write_text(int card, const char *name, const char *text)
{
	char file[4096], temporary[4200];
	path(file, sizeof file, card, name);
	snprintf(temporary, sizeof temporary, "%s.new", file);
	FILE *f = fopen(temporary, "we");
	if (!f)
		return -1;
	int bad = fputs(text, f) < 0;
	bad |= fclose(f) != 0;
	return bad || rename(temporary, file) ? -1 : 0;
}

int remove_file(int card, const char *name)
{
	char file[4096];
	path(file, sizeof file, card, name);
	return unlink(file);
}

void note(const char *format, ...)
{
	FILE *f = open_file(-1, "calls", "ae");
	if (!f)
		return;
	va_list args;
	va_start(args, format);
	vfprintf(f, format, args);
	va_end(args);
	fputc('\n', f);
	fclose(f);
}

int lock(void)
{
	char file[4096];
	path(file, sizeof file, -1, "lock");
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	while (flock(fd, LOCK_EX) && errno == EINTR)
		;
	return fd;
}

void unlock(int fd)
{
	close(fd);
}

// Handles are addresses into this array, so that they can be told from rubbish.
enum { PER_CARD = 1024, GI_AT = 300, CI_AT = 400 };
static char handles[MAX_CARDS * PER_CARD];

nvmlDevice_t device_handle(int card, int gi, int ci)
{
	int at = card * PER_CARD + (gi < 0 ? 0 : 1 + gi * MAX_CI + ci);
	return (nvmlDevice_t){(void *)&handles[at]};
}

nvmlGpuInstance_t gi_handle(int card, int gi)
{
	return (nvmlGpuInstance_t){(void *)&handles[card * PER_CARD + GI_AT + gi]};
}

nvmlComputeInstance_t ci_handle(int card, int gi, int ci)
{
	return (nvmlComputeInstance_t){(void *)&handles[card * PER_CARD + CI_AT + gi * MAX_CI + ci]};
}

static int parse(const void *handle, struct thing *out)
{
	const char *h = handle;
	if (h < handles || h >= handles + sizeof handles)
		return 0;
	int at = (int)(h - handles), rest = at % PER_CARD;
	*out = (struct thing){at / PER_CARD, -1, -1};
	if (rest >= CI_AT)
		*out = (struct thing){out->card, (rest - CI_AT) / MAX_CI, (rest - CI_AT) % MAX_CI};
	else if (rest >= GI_AT)
		out->gi = rest - GI_AT;
	else if (rest > 0)
		*out = (struct thing){out->card, (rest - 1) / MAX_CI, (rest - 1) % MAX_CI};
	return 1;
}

// told gives what the file "fail" says of a function: lines "CODE NAME".
static nvmlReturn_t told(int card, const char *function)
{
	static _Thread_local struct table t;
	read_table(card, "fail", &t);
	for (int i = 0; i < t.count; i++)
		if (!strcmp(t.rows[i].text, function) || !strcmp(t.rows[i].text, "*"))
			return (nvmlReturn_t)t.rows[i].n[0];
	return NVML_SUCCESS;
}

// hang waits as long as the file "hang" is there and names this function or all ("*"); an hour is for ever.
static void hang(int card, const char *function)
{
	char text[96];
	for (int i = 0; i < 360000 && read_text(card, "hang", text, sizeof text); i++) {
		if (strcmp(text, "*") && strcmp(text, function))
			return;
		nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
	}
}

nvmlReturn_t open_card(int card, const char *function)
{
	hang(card, function);
	char text[8];
	if (read_text(card, "lost", text, sizeof text))
		return NVML_ERROR_GPU_IS_LOST;
	return told(card, function);
}

nvmlReturn_t begun(const char *function)
{
	if (__atomic_load_n(&opened, __ATOMIC_SEQ_CST) == 0)
		return NVML_ERROR_UNINITIALIZED;
	return told(-1, function);
}

nvmlReturn_t enter(const void *handle, const char *function, struct thing *out)
{
	nvmlReturn_t r = begun(function);
	if (r)
		return r;
	if (!parse(handle, out) || out->card >= card_count())
		return NVML_ERROR_INVALID_ARGUMENT;
	return open_card(out->card, function);
}

nvmlReturn_t enter_card(const void *handle, const char *function, int *card)
{
	struct thing t;
	nvmlReturn_t r = enter(handle, function, &t);
	*card = t.card;
	return r ? r : t.gi >= 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

nvmlReturn_t copy(char *out, unsigned int size, const char *text)
{
	if (!out)
		return NVML_ERROR_INVALID_ARGUMENT;
	return (unsigned)snprintf(out, size, "%s", text) < size ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
	(void)flags;
	char text[8];
	if (read_text(-1, "no-driver", text, sizeof text))
		return NVML_ERROR_DRIVER_NOT_LOADED;
	nvmlReturn_t r = told(-1, "nvmlInit_v2");
	if (!r)
		__atomic_add_fetch(&opened, 1, __ATOMIC_SEQ_CST);
	return r;
}

nvmlReturn_t nvmlInit_v2(void)
{
	return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void)
{
	if (__atomic_load_n(&opened, __ATOMIC_SEQ_CST) == 0)
		return NVML_ERROR_UNINITIALIZED;
	__atomic_sub_fetch(&opened, 1, __ATOMIC_SEQ_CST);
	return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result)
{
	switch (result) {
	case NVML_SUCCESS: return "Success";
	case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
	case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
	case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
	case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
	case NVML_ERROR_NOT_FOUND: return "Not Found";
	case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
	case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
	case NVML_ERROR_TIMEOUT: return "Timeout";
	case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
	case NVML_ERROR_RESET_REQUIRED: return "GPU requires reset";
	case NVML_ERROR_IN_USE: return "In use by another client";
	case NVML_ERROR_INSUFFICIENT_RESOURCES: return "Insufficient Resources";
	default: return "Unknown Error";
	}
}
