/* NVIDIA's management library as far as the agent calls it: what it says is in files below FOLDER.

   count            how many GPUs there are
   N/used N/busy    bytes of memory in use, and per cent of the time
   N/lost           it has fallen off the bus
   N/xid            an error to report once
   N/split          it is in MIG mode if this is 1, and could be if it is 0
   hangs            no call returns
*/
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORTED = 3, TIMEOUT = 10, GPU_IS_LOST = 15 };
#define TOTAL (16ULL << 30)

static int path(char *out, size_t size, long n, const char *name) {
    return n < 0 ? snprintf(out, size, FOLDER "/%s", name)
                 : snprintf(out, size, FOLDER "/%ld/%s", n, name);
}

static int has(long n, const char *name) {
    char file[4096];
    path(file, sizeof file, n, name);
    return access(file, F_OK) == 0;
}

static unsigned long long number(long n, const char *name) {
    char file[4096];
    unsigned long long found = 0;
    path(file, sizeof file, n, name);
    FILE *stream = fopen(file, "r");
    if (stream) {
        if (fscanf(stream, "%llu", &found) != 1) found = 0;
        fclose(stream);
    }
    return found;
}

static long of(void *handle) { return (long)(intptr_t)handle - 1; }

static int state(void *handle) {
    while (has(-1, "hangs")) usleep(10000);
    return has(of(handle), "lost") ? GPU_IS_LOST : OK;
}

int nvmlInit_v2(void) { return OK; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "an error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = number(-1, "count"); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = (void *)(intptr_t)(index + 1);
    return state(*handle);
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    snprintf(text, size, "GPU-%ld", of(handle));
    return state(handle);
}
int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    snprintf(text, size, "Tesla Fake");
    return state(handle);
}
int nvmlDeviceGetMinorNumber(void *handle, unsigned *minor) {
    *minor = of(handle);
    return state(handle);
}
int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *memory) {
    unsigned long long used = number(of(handle), "used");
    memory[0] = TOTAL, memory[1] = TOTAL - used, memory[2] = used;
    return state(handle);
}
int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates) {
    if (!has(of(handle), "busy")) return NOT_SUPPORTED;
    rates[0] = rates[1] = number(of(handle), "busy");
    return state(handle);
}
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *at_next_boot) {
    if (!has(of(handle), "split")) return NOT_SUPPORTED;
    *now = *at_next_boot = number(of(handle), "split");
    return state(handle);
}
int nvmlEventSetCreate(void **set) { *set = (void *)1; return OK; }
int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, void *set) { return state(handle); }

struct event { void *device; unsigned long long kind, data; unsigned gpu, compute; };
int nvmlEventSetWait_v2(void *set, struct event *event, unsigned timeout) {
    char file[4096];
    for (long n = 0; n < (long)number(-1, "count"); n++) {
        if (!has(n, "xid")) continue;
        memset(event, 0, sizeof *event);
        event->device = (void *)(intptr_t)(n + 1), event->kind = 8, event->data = number(n, "xid");
        path(file, sizeof file, n, "xid");
        unlink(file);
        return OK;
    }
    return TIMEOUT;
}
