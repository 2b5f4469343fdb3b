// A CUDA device that keeps memory and copies bytes, and computes nothing.
//
// The functions that hand something back to ONNX Runtime's CUDA provider; `build.py` adds the rest,
// which return success (0). Device memory is mapped twice: the address that callers get can neither
// be read nor written, the copies of this file go through the second one. So host code that touches
// device memory without a copy ends in a segmentation fault, as it would with a real device.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t SIZE = (size_t)1 << 42;  // addresses; pages come when they are written
static char *device, *window;                // the addresses of callers, and ours
static size_t top = 0;
static int current = 0;

// What happened since the start, for the tests: copies by direction, kernels, waits.
struct { long to_device, to_host, on_device, kernels, waits; } fake_cuda_counts;

static void map(void) {
    int file = memfd_create("device", 0);
    if (file < 0 || ftruncate(file, SIZE)) abort();
    device = mmap(NULL, SIZE, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0);
    window = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (device == MAP_FAILED || window == MAP_FAILED) abort();
}

static int on_device(const void *p) {
    return device && (const char *)p >= device && (const char *)p < device + SIZE;
}

static void *ours(const void *p) {
    return on_device(p) ? window + ((const char *)p - device) : (void *)p;
}

static int copy(void *to, const void *from, size_t count) {
    long *counter = on_device(to) ? (on_device(from) ? &fake_cuda_counts.on_device
                                                     : &fake_cuda_counts.to_device)
                                  : &fake_cuda_counts.to_host;
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
    memmove(ours(to), ours(from), count);
    return 0;
}

static int wait(void) {
    __atomic_add_fetch(&fake_cuda_counts.waits, 1, __ATOMIC_RELAXED);
    return 0;
}

static int launch(void) {
    __atomic_add_fetch(&fake_cuda_counts.kernels, 1, __ATOMIC_RELAXED);
    return 0;
}

static int handle(void **out) {
    static char object[4096];
    *out = object;
    return 0;
}

// Memory. Nothing is reused after it was freed: a pointer that outlives its memory stays valid.
int cudaMalloc(void **out, size_t size) {
    if (!device) map();
    size_t start = __atomic_fetch_add(&top, (size + 511) / 256 * 256, __ATOMIC_RELAXED);
    if (start + size > SIZE) return 2;  // out of memory
    *out = device + start;
    return 0;
}
int cudaMallocAsync(void **out, size_t size, void *stream) { return cudaMalloc(out, size); }
int cudaMallocFromPoolAsync(void **out, size_t size, void *pool, void *stream) {
    return cudaMalloc(out, size);
}
int cudaMallocHost(void **out, size_t size) { return !(*out = calloc(1, size ? size : 1)); }
int cudaHostAlloc(void **out, size_t size, unsigned flags) { return cudaMallocHost(out, size); }
int cudaFreeHost(void *p) { free(p); return 0; }
int cudaMemGetInfo(size_t *free, size_t *total) { *free = *total = SIZE; return 0; }
int cudaMemcpy(void *to, const void *from, size_t count, int kind) {
    wait();
    return copy(to, from, count);
}
int cudaMemcpyAsync(void *to, const void *from, size_t count, int kind, void *stream) {
    return copy(to, from, count);
}
int cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                      size_t height, int kind, void *stream) {
    for (size_t i = 0; i < height; i++)
        copy((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
    return 0;
}
int cudaMemset(void *to, int value, size_t count) { memset(ours(to), value, count); return 0; }
int cudaMemsetAsync(void *to, int value, size_t count, void *stream) {
    return cudaMemset(to, value, count);
}
int cudaPointerGetAttributes(int *attributes, const void *p) {
    attributes[0] = on_device(p) ? 2 : 0;  // device; unregistered host memory
    attributes[1] = 0;
    *(const void **)(attributes + 2) = on_device(p) ? p : NULL;
    *(const void **)(attributes + 4) = on_device(p) ? NULL : p;
    return 0;
}

// The device: two of them, of compute capability 9.0.
struct properties {  // the beginning of cudaDeviceProp
    char name[256], identifiers[24];
    unsigned mask;
    size_t memory, shared_memory;
    int registers, warp;
    size_t pitch;
    int threads, block[3], grid[3];
    size_t constants;
    int major, minor;
    size_t alignments[2];
    int processors[2];  // the second one is that of CUDA 12
};
int cudaGetDeviceProperties(struct properties *out, int number) {
    *out = (struct properties){.name = "a device that computes nothing", .memory = SIZE,
        .shared_memory = 49152, .registers = 65536, .warp = 32, .threads = 1024,
        .block = {1024, 1024, 64}, .grid = {2147483647, 65535, 65535}, .constants = 65536,
        .major = 9, .minor = 0, .processors = {16, 16}};
    return 0;
}
int cudaGetDeviceProperties_v2(struct properties *out, int number) {
    return cudaGetDeviceProperties(out, number);
}
int cudaDeviceGetAttribute(int *out, int attribute, int number) {
    switch (attribute) {
        case 10: *out = 32; break;                     // threads of a warp
        case 16: *out = 16; break;                     // processors
        case 75: *out = 9; break;                      // compute capability
        case 76: *out = 0; break;
        case 8: case 81: case 97: *out = 49152; break; // shared memory
        default: *out = 1024;
    }
    return 0;
}
int cudaGetDeviceCount(int *out) { *out = 2; return 0; }
int cudaGetDevice(int *out) { *out = current; return 0; }
int cudaSetDevice(int number) { current = number; return number < 2 ? 0 : 101; }
int cudaRuntimeGetVersion(int *out) { *out = 13000; return 0; }
int cudaDriverGetVersion(int *out) { *out = 13000; return 0; }
const char *cudaGetErrorName(int code) { return code ? "error" : "no error"; }
const char *cudaGetErrorString(int code) { return cudaGetErrorName(code); }

// Streams, events, kernels.
int cudaStreamCreate(void **out) { return handle(out); }
int cudaStreamCreateWithFlags(void **out, unsigned flags) { return handle(out); }
int cudaStreamCreateWithPriority(void **out, unsigned flags, int priority) { return handle(out); }
int cudaStreamSynchronize(void *stream) { return wait(); }
int cudaStreamIsCapturing(void *stream, int *out) { *out = 0; return 0; }
int cudaStreamGetCaptureInfo(void *stream, int *out) { *out = 0; return 0; }
int cudaDeviceSynchronize(void) { return wait(); }
int cudaEventCreate(void **out) { return handle(out); }
int cudaEventCreateWithFlags(void **out, unsigned flags) { return handle(out); }
int cudaEventSynchronize(void *event) { return wait(); }
int cudaEventElapsedTime(float *out, void *from, void *to) { *out = 0; return 0; }
int cudaMemPoolCreate(void **out, const void *properties) { return handle(out); }
int cudaLaunchHostFunc(void *stream, void (*call)(void *), void *data) { call(data); return 0; }
int cudaLaunchKernel(void) { return launch(); }
int cudaLaunchKernelExC(void) { return launch(); }
int cudaLaunchCooperativeKernel(void) { return launch(); }
int __cudaLaunchKernel(void) { return launch(); }
int __cudaGetKernel(void **out, const void *function) { return handle(out); }
void **__cudaRegisterFatBinary(void *binary) { static void *module; return &module; }
int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *out) { *out = 1; return 0; }
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *out) { *out = 1; return 0; }
struct attributes {  // the beginning of cudaFuncAttributes
    size_t shared, constant, local;
    int threads, registers, ptx, binary;
};
int cudaFuncGetAttributes(struct attributes *out, const void *function) {
    *out = (struct attributes){.threads = 1024, .registers = 32, .ptx = 90, .binary = 90};
    return 0;
}

// The driver.
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *out) { *out = 2; return 0; }

// The libraries of products, and others that make objects.
int cublasCreate_v2(void **out) { return handle(out); }
int cublasLtCreate(void **out) { return handle(out); }
int cublasLtMatmulDescCreate(void **out) { return handle(out); }
int cublasLtMatmulPreferenceCreate(void **out) { return handle(out); }
int cublasLtMatrixLayoutCreate(void **out) { return handle(out); }
int cublasLtMatrixTransformDescCreate(void **out) { return handle(out); }
const char *cublasGetStatusName(int code) { return cudaGetErrorName(code); }
const char *cublasGetStatusString(int code) { return cudaGetErrorName(code); }
int curandCreateGenerator(void **out, int kind) { return handle(out); }
size_t cudnnGetVersion(void) { return 91000; }
int cudnnCreate(void **out) { return handle(out); }
const char *cudnnGetErrorString(int code) { return cudaGetErrorName(code); }
