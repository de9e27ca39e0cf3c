// Computes on the one card that it sees, by CUDA's driver, which it loads at run time, and checks every number of the result. It runs inside
// the devices that a session would have. One line of JSON on success; else a line that says what failed, and status 1.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COUNT = 1 << 20, ROUNDS = 256, THREADS = 256 };

// What each thread does to its number, ROUNDS times: x = x * 1664525 + 1013904223. The driver compiles it for the card.
static const char program[] =
	".version 6.4\n"
	".target sm_70\n"
	".address_size 64\n"
	".visible .entry churn(.param .u64 data, .param .u32 count, .param .u32 rounds)\n"
	"{\n"
	".reg .pred %p<3>;\n"
	".reg .b32 %r<9>;\n"
	".reg .b64 %rd<5>;\n"
	"ld.param.u64 %rd1, [data];\n"
	"ld.param.u32 %r1, [count];\n"
	"ld.param.u32 %r2, [rounds];\n"
	"mov.u32 %r3, %ctaid.x;\n"
	"mov.u32 %r4, %ntid.x;\n"
	"mov.u32 %r5, %tid.x;\n"
	"mad.lo.u32 %r6, %r3, %r4, %r5;\n"
	"setp.ge.u32 %p1, %r6, %r1;\n"
	"@%p1 bra DONE;\n"
	"cvta.to.global.u64 %rd2, %rd1;\n"
	"mul.wide.u32 %rd3, %r6, 4;\n"
	"add.u64 %rd4, %rd2, %rd3;\n"
	"ld.global.u32 %r7, [%rd4];\n"
	"mov.u32 %r8, 0;\n"
	"NEXT:\n"
	"setp.ge.u32 %p2, %r8, %r2;\n"
	"@%p2 bra STORE;\n"
	"mad.lo.u32 %r7, %r7, 1664525, 1013904223;\n"
	"add.u32 %r8, %r8, 1;\n"
	"bra NEXT;\n"
	"STORE:\n"
	"st.global.u32 [%rd4], %r7;\n"
	"DONE:\n"
	"ret;\n"
	"}\n";

static int (*error_string)(int, const char **);

static void *load(const char *name)
{
	static void *library;
	if (!library && !(library = dlopen("libcuda.so.1", RTLD_NOW))) {
		fprintf(stderr, "load CUDA's driver: %s\n", dlerror());
		exit(1);
	}
	void *f = dlsym(library, name);
	if (!f) {
		fprintf(stderr, "CUDA's driver has no %s\n", name);
		exit(1);
	}
	return f;
}

static void check(const char *doing, int status)
{
	const char *text = NULL;
	if (!status)
		return;
	if (error_string)
		error_string(status, &text);
	fprintf(stderr, "%s: error %d, %s\n", doing, status, text ? text : "unknown");
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint32_t expected(uint32_t x)
{
	for (int i = 0; i < ROUNDS; i++)
		x = x * 1664525u + 1013904223u;
	return x;
}

int main(void)
{
	int (*init)(unsigned) = load("cuInit");
	int (*count_devices)(int *) = load("cuDeviceGetCount");
	int (*get)(int *, int) = load("cuDeviceGet");
	int (*get_name)(char *, int, int) = load("cuDeviceGetName");
	int (*total)(size_t *, int) = load("cuDeviceTotalMem_v2");
	int (*create)(void **, unsigned, int) = load("cuCtxCreate_v2");
	int (*destroy)(void *) = load("cuCtxDestroy_v2");
	int (*allocate)(uint64_t *, size_t) = load("cuMemAlloc_v2");
	int (*release)(uint64_t) = load("cuMemFree_v2");
	int (*to_card)(uint64_t, const void *, size_t) = load("cuMemcpyHtoD_v2");
	int (*from_card)(void *, uint64_t, size_t) = load("cuMemcpyDtoH_v2");
	int (*module_load)(void **, const void *) = load("cuModuleLoadData");
	int (*function)(void **, void *, const char *) = load("cuModuleGetFunction");
	int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **) = load("cuLaunchKernel");
	int (*synchronize)(void) = load("cuCtxSynchronize");
	error_string = load("cuGetErrorString");

	int devices = 0, device = 0;
	char name[256] = "";
	size_t memory = 0;
	check("start CUDA's driver", init(0));
	check("count devices", count_devices(&devices));
	if (devices != 1) {
		fprintf(stderr, "a session must see one device, and sees %d\n", devices);
		return 1;
	}
	check("open the device", get(&device, 0));
	check("name the device", get_name(name, sizeof name, device));
	check("ask for its memory", total(&memory, device));

	void *context, *module, *kernel;
	uint64_t data;
	uint32_t count = COUNT, rounds = ROUNDS, *numbers = malloc(COUNT * sizeof *numbers);
	if (!numbers)
		return 1;
	for (uint32_t i = 0; i < count; i++)
		numbers[i] = i * 2654435761u;
	check("make a context", create(&context, 0, device));
	check("take memory of the card", allocate(&data, COUNT * sizeof *numbers));
	check("bring numbers to the card", to_card(data, numbers, COUNT * sizeof *numbers));
	check("compile the program", module_load(&module, program));
	check("find the program's entry", function(&kernel, module, "churn"));
	void *arguments[] = {&data, &count, &rounds};
	double begin = now();
	check("begin to compute", launch(kernel, COUNT / THREADS, 1, 1, THREADS, 1, 1, 0, NULL, arguments, NULL));
	check("compute", synchronize());
	double took = now() - begin;
	check("bring the numbers back", from_card(numbers, data, COUNT * sizeof *numbers));
	check("give the memory back", release(data));
	check("end the context", destroy(context));

	for (uint32_t i = 0; i < count; i++)
		if (numbers[i] != expected(i * 2654435761u)) {
			fprintf(stderr, "number %u is wrong: %u, want %u\n", i, numbers[i], expected(i * 2654435761u));
			return 1;
		}
	free(numbers);
	printf("{\"device\":\"%s\",\"memory\":%zu,\"numbers\":%d,\"rounds\":%d,\"ms\":%.3f}\n", name, memory, COUNT, ROUNDS, took);
	return 0;
}
