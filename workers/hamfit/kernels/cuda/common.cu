// What several kernels share. Conventions of all files here: arrays are C order; one translation unit, so names are
// unique; sums run in a fixed order and no kernel adds floats atomically, so the same input gives the same bits.

// Input maps of a distance, as in kernels/cpu.py.
#define MAP_R 0
#define MAP_INVERSE 1
// Spline pieces are polynomials of this degree.
#define SPLINE_DEGREE 7
#define SPLINE_ORDER 8

__device__ __forceinline__ long long global_thread() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}

// s(r) and (ds/dr)/r of an input map.
__device__ __forceinline__ void mapped(long long input_map, double r, double& s, double& steep) {
    if (input_map == MAP_R) {
        s = r;
        steep = r > 0.0 ? 1.0 / r : 0.0;
    } else if (input_map == MAP_INVERSE) {
        s = 1.0 / r;
        steep = -s * s * s;
    } else {
        s = r * r;
        steep = 2.0;
    }
}
