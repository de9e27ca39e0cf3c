// A test double of libnvidia-ml. Its cards are plain files below the directory that EASEL_NVML_DOUBLE names, read anew at each
// call: what one process changes, another sees, and a process that is killed loses nothing. doc.go says what the files hold.
#ifndef EASEL_NVML_DOUBLE_H
#define EASEL_NVML_DOUBLE_H

#include <nvml.h>
#include <stddef.h>

enum {
	MAX_CARDS = 32,
	MAX_GI = 32,
	MAX_CI = 8,
	MAX_ROWS = 512,
	MAX_COLUMNS = 12,
};

// thing is what a handle stands for: a card, a MIG device or an instance on it. gi and ci are -1 where there is none.
struct thing {
	int card, gi, ci;
};

// row is a line of numbers of a table; text is the word that follows them.
struct row {
	long long n[MAX_COLUMNS];
	int count;
	char text[96];
};

struct table {
	struct row rows[MAX_ROWS];
	int count;
};

int card_count(void);
// read_text gives a file's first line, and whether there is such a file.
int read_text(int card, const char *name, char *out, size_t size);
long long read_number(int card, const char *name, long long otherwise);
// read_table reads all lines; a file that is missing is an empty table.
void read_table(int card, const char *name, struct table *t);
int write_text(int card, const char *name, const char *text);
int remove_file(int card, const char *name);
// note appends a line to the file "calls": what a test asks when it wants to know what was done.
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
// lock keeps other processes from changing cards until unlock.
int lock(void);
void unlock(int fd);

nvmlDevice_t device_handle(int card, int gi, int ci);
nvmlGpuInstance_t gi_handle(int card, int gi);
nvmlComputeInstance_t ci_handle(int card, int gi, int ci);

// enter begins a call on what a handle stands for: it waits where the card hangs, and fails where it is lost or told to.
nvmlReturn_t enter(const void *handle, const char *function, struct thing *out);
// enter_card is the same for calls that a MIG device does not have.
nvmlReturn_t enter_card(const void *handle, const char *function, int *card);
// begun tells whether nvmlInit was called, and fails as the file "fail" of the machine says.
nvmlReturn_t begun(const char *function);
// open_card is what the handle of a card costs: it fails where the card is lost or hangs.
nvmlReturn_t open_card(int card, const char *function);

// copy fills a caller's buffer.
nvmlReturn_t copy(char *out, unsigned int size, const char *text);

// MIG devices, as device.c asks for them.
int mig_enabled(int card);
int mig_device(int card, int index, struct thing *out);
int mig_device_index(const struct thing *t);
int mig_uuid(const struct thing *t, char *out, size_t size);
unsigned long long mig_memory(const struct thing *t);
// busy tells whether a process that lives uses an instance, or with gi < 0 the card.
int busy(int card, int gi, int ci);

#endif
