#define _GNU_SOURCE
#include "double.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int folder_file(const char *name, int flags)
{
	Dl_info self;
	char path[4096];
	if (!dladdr((void *)folder_file, &self) || !strrchr(self.dli_fname, '/'))
		abort();
	snprintf(path, sizeof path, "%.*s/%s", (int)(strrchr(self.dli_fname, '/') - self.dli_fname), self.dli_fname, name);
	return open(path, flags | O_CLOEXEC, 0666);
}

static void append(const char *prefix, const char *format, va_list args)
{
	char line[1024];
	int n = snprintf(line, sizeof line, "%s", prefix);
	n += vsnprintf(line + n, sizeof line - n - 1, format, args);
	if (n > (int)sizeof line - 2)
		n = sizeof line - 2;
	line[n++] = '\n';
	int fd = folder_file("calls", O_WRONLY | O_CREAT | O_APPEND);
	if (fd < 0 || write(fd, line, n) != n)
		abort();
	close(fd);
}

void note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	append("", format, args);
	va_end(args);
}

void violation(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	append("violation: ", format, args);
	va_end(args);
}

long fault(const char *key, long otherwise)
{
	char text[4096];
	int fd = folder_file("faults", O_RDONLY);
	if (fd < 0)
		return otherwise;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n < 0 ? 0 : n] = 0;
	size_t length = strlen(key);
	char *rest = NULL; /* one driver may hang while another is asked */
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (!strncmp(line, key, length) && line[length] == '=')
			return strtol(line + length + 1, NULL, 10);
	return otherwise;
}

void hang_while(const char *key, long value)
{
	while (fault(key, -1) == value)
		usleep(5000);
}

long this_thread(void) { return syscall(SYS_gettid); }
