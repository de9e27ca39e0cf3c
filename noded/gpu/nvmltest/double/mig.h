// What mig.c, compute.c and migdevice.c share. Files of a card: "mig" (0 or 1; missing: it cannot), "mig-pending", "gi-profiles",
// "gi-placements", "ci-profiles", "ci-placements"; "giN" is an instance: its profile's constant, start and size; "giN.ciM" a compute
// instance in it, and its device's UUID.
#ifndef EASEL_NVML_MIG_H
#define EASEL_NVML_MIG_H

#include "double.h"

// Columns of the profiles.
enum { GI_ENUM, GI_ID, GI_SLICES, GI_COUNT, GI_SM, GI_COPY, GI_DECODE, GI_ENCODE, GI_JPEG, GI_OFA, GI_MEMORY, GI_P2P };
enum { CI_GI, CI_ENUM, CI_ID, CI_SLICES, CI_COUNT, CI_SM, CI_COPY, CI_DECODE, CI_ENCODE, CI_JPEG, CI_OFA };

struct instance {
	int profile, start, size; // profile is NVML's constant, not its ID
	char uuid[96];
};

int read_gi(int card, int gi, struct instance *out);
int read_ci(int card, int gi, int ci, struct instance *out);

// A profile's row by the value of a column; compute instances have one for each GPU instance profile.
struct row *gi_profile(struct table *t, int card, int column, long long value);
struct row *ci_profile(struct table *t, int card, int gi_enum, int column, long long value);

// enter_gi and enter_ci begin a call on an instance that must be there.
nvmlReturn_t enter_gi(const void *handle, const char *function, struct thing *at, struct instance *gi);
nvmlReturn_t enter_ci(const void *handle, const char *function, struct thing *at, struct instance *gi, struct instance *ci);

#endif
