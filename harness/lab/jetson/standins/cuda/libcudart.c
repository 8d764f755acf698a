/* Stands in for NVIDIA's libcudart where there is no GPU: the calls that edgebench and the TensorRT stand-in make.
 *
 * Device memory is host memory, a copy is done when its call returns, events read CLOCK_MONOTONIC. What CUDA refuses
 * is refused here too and by the same number: memory beyond the device's, addresses it did not hand out, events that
 * were never recorded. Numbers and signatures are those of cuda_runtime_api.h and driver_types.h.
 *
 *   STANDIN_GPU_NAME      name of the device                                  NVIDIA Tegra X1
 *   STANDIN_GPU_CC        compute capability                                  5.3
 *   STANDIN_GPU_MEMORY    bytes in all                                        4294967296
 *   STANDIN_GPU_USED      bytes that others hold already                      0
 *   STANDIN_CUDA_VERSION  version as cudaRuntimeGetVersion gives it           10020
 *   STANDIN_CUDA_ERROR    the number every call that needs a device answers   0
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0, INVALID_VALUE = 1, MEMORY_ALLOCATION = 2, INSUFFICIENT_DRIVER = 35, NO_DEVICE = 100,
    INVALID_DEVICE = 101, INVALID_RESOURCE_HANDLE = 400, NOT_READY = 600, UNKNOWN = 999
};

enum kind { DEVICE_BLOCK, HOST_BLOCK, STREAM, EVENT, KINDS };

struct entry {
    struct entry *next;
    enum kind kind;
    void *address;
    size_t size;
    int recorded;
    struct timespec moment;
};

static struct entry *entries;
static size_t in_use;
static int last_error;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long long setting(const char *name, long long otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoll(text) : otherwise;
}

static int answer(int error) {
    if (error) last_error = error;
    return error;
}

static int broken(void) { return (int)setting("STANDIN_CUDA_ERROR", 0); }

static size_t total_memory(void) { return (size_t)setting("STANDIN_GPU_MEMORY", 4LL << 30); }

static size_t free_memory(void) {
    size_t taken = in_use + (size_t)setting("STANDIN_GPU_USED", 0);
    return taken < total_memory() ? total_memory() - taken : 0;
}

static struct entry *add(enum kind kind, size_t size) {
    struct entry *made = calloc(1, sizeof *made);
    made->kind = kind;
    made->size = size;
    made->address = size ? malloc(size) : (void *)made;
    made->next = entries;
    entries = made;
    return made;
}

static struct entry **find(enum kind kind, const void *address) {
    struct entry **at = &entries;
    while (*at && !((*at)->kind == kind && (*at)->address == address)) at = &(*at)->next;
    return at;
}

static int holds(enum kind kind, const void *address, size_t size) {
    for (struct entry *at = entries; at; at = at->next) {
        const char *begin = at->address, *wanted = address;
        if (at->kind == kind && begin <= wanted && wanted + size <= begin + at->size) return 1;
    }
    return 0;
}

static int drop(enum kind kind, void *address, int otherwise) {
    pthread_mutex_lock(&lock);
    struct entry **at = find(kind, address), *gone = *at;
    int error = gone ? SUCCESS : otherwise;
    if (gone) {
        *at = gone->next;
        if (kind == DEVICE_BLOCK) in_use -= gone->size;
        if (gone->address != (void *)gone) free(gone->address);
        free(gone);
    }
    pthread_mutex_unlock(&lock);
    return answer(error);
}

/* How many of a kind were made and not given back: what a leak is seen by. */
int standin_live(int kind) {
    int count = 0;
    pthread_mutex_lock(&lock);
    for (struct entry *at = entries; at; at = at->next) count += (int)at->kind == kind;
    pthread_mutex_unlock(&lock);
    return count;
}

int cudaGetDeviceCount(int *count) {
    *count = broken() ? 0 : 1;
    return answer(broken());
}

int cudaSetDevice(int device) { return answer(broken() ? broken() : device ? INVALID_DEVICE : SUCCESS); }

int cudaRuntimeGetVersion(int *version) {
    *version = (int)setting("STANDIN_CUDA_VERSION", 10020);
    return SUCCESS;
}

int cudaDriverGetVersion(int *version) {
    *version = broken() ? 0 : (int)setting("STANDIN_CUDA_VERSION", 10020);
    return SUCCESS;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    const char *text = getenv("STANDIN_GPU_CC"), *dot;
    if (broken()) return answer(broken());
    if (device) return answer(INVALID_DEVICE);
    if (!text) text = "5.3";
    dot = strchr(text, '.');
    if (attribute == 75) *value = atoi(text);                     /* cudaDevAttrComputeCapabilityMajor */
    else if (attribute == 76) *value = dot ? atoi(dot + 1) : 0;   /* cudaDevAttrComputeCapabilityMinor */
    else return answer(INVALID_VALUE);
    return SUCCESS;
}

/* Of cudaDeviceProp, whose size grows with each version, only the beginning: char name[256]. */
int cudaGetDeviceProperties(void *properties, int device) {
    const char *name = getenv("STANDIN_GPU_NAME");
    if (broken()) return answer(broken());
    if (device) return answer(INVALID_DEVICE);
    memset(properties, 0, 256);
    strncpy(properties, name ? name : "NVIDIA Tegra X1", 255);
    return SUCCESS;
}

int cudaMemGetInfo(size_t *available, size_t *total) {
    if (broken()) return answer(broken());
    pthread_mutex_lock(&lock);
    *available = free_memory();
    *total = total_memory();
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

int cudaMalloc(void **address, size_t size) {
    int error = broken();
    pthread_mutex_lock(&lock);
    *address = NULL;
    if (!error && size > free_memory()) error = MEMORY_ALLOCATION;
    if (!error && size) {
        *address = add(DEVICE_BLOCK, size)->address;
        in_use += size;
    }
    pthread_mutex_unlock(&lock);
    return answer(error);
}

int cudaFree(void *address) { return address ? drop(DEVICE_BLOCK, address, INVALID_VALUE) : answer(broken()); }

int cudaHostAlloc(void **address, size_t size, unsigned int flags) {
    (void)flags;
    if (broken()) return answer(broken());
    if (!size) return answer(INVALID_VALUE);
    pthread_mutex_lock(&lock);
    *address = add(HOST_BLOCK, size)->address;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

int cudaFreeHost(void *address) { return drop(HOST_BLOCK, address, INVALID_VALUE); }

static int make(enum kind kind, void **handle) {
    if (broken()) return answer(broken());
    pthread_mutex_lock(&lock);
    *handle = add(kind, 0)->address;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

int cudaStreamCreateWithFlags(void **stream, unsigned int flags) { (void)flags; return make(STREAM, stream); }
int cudaStreamDestroy(void *stream) { return drop(STREAM, stream, INVALID_RESOURCE_HANDLE); }
int cudaEventCreateWithFlags(void **event, unsigned int flags) { (void)flags; return make(EVENT, event); }
int cudaEventDestroy(void *event) { return drop(EVENT, event, INVALID_RESOURCE_HANDLE); }

static int known(enum kind kind, void *handle) {
    pthread_mutex_lock(&lock);
    int found = *find(kind, handle) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

int cudaStreamSynchronize(void *stream) {
    return answer(broken() ? broken() : !stream || known(STREAM, stream) ? SUCCESS : INVALID_RESOURCE_HANDLE);
}

int cudaMemcpyAsync(void *to, const void *from, size_t size, int direction, void *stream) {
    const void *on_device = direction == 1 ? to : from;
    int error = broken();
    if (!error && stream && !known(STREAM, stream)) error = INVALID_RESOURCE_HANDLE;
    if (!error && direction != 1 && direction != 2) error = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    if (!error && !holds(DEVICE_BLOCK, on_device, size)) error = INVALID_VALUE;
    pthread_mutex_unlock(&lock);
    if (!error) memcpy(to, from, size);
    return answer(error);
}

int cudaEventRecord(void *event, void *stream) {
    if (broken()) return answer(broken());
    if (!known(EVENT, event) || (stream && !known(STREAM, stream))) return answer(INVALID_RESOURCE_HANDLE);
    struct entry *recorded = event;
    recorded->recorded = 1;
    clock_gettime(CLOCK_MONOTONIC, &recorded->moment);
    return SUCCESS;
}

int cudaEventElapsedTime(float *milliseconds, void *start, void *end) {
    struct entry *from = start, *to = end;
    if (!known(EVENT, start) || !known(EVENT, end) || !from->recorded || !to->recorded)
        return answer(INVALID_RESOURCE_HANDLE);
    *milliseconds = (float)((to->moment.tv_sec - from->moment.tv_sec) * 1e3
                            + (to->moment.tv_nsec - from->moment.tv_nsec) * 1e-6);
    return SUCCESS;
}

int cudaGetLastError(void) {
    int error = last_error;
    last_error = SUCCESS;
    return error;
}

static const struct { int number; const char *name, *text; } WORDS[] = {
    {SUCCESS, "cudaSuccess", "no error"},
    {INVALID_VALUE, "cudaErrorInvalidValue", "invalid argument"},
    {MEMORY_ALLOCATION, "cudaErrorMemoryAllocation", "out of memory"},
    {INSUFFICIENT_DRIVER, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {NO_DEVICE, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {INVALID_RESOURCE_HANDLE, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {NOT_READY, "cudaErrorNotReady", "device not ready"},
    {UNKNOWN, "cudaErrorUnknown", "unknown error"},
};

const char *cudaGetErrorName(int error) {
    for (size_t at = 0; at < sizeof WORDS / sizeof *WORDS; at++)
        if (WORDS[at].number == error) return WORDS[at].name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(int error) {
    for (size_t at = 0; at < sizeof WORDS / sizeof *WORDS; at++)
        if (WORDS[at].number == error) return WORDS[at].text;
    return "unrecognized error code";
}
