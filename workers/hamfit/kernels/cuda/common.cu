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

// a . b, products and sums rounded one by one: a compiler that fuses them as it likes gives other bits in other kernels.
__device__ __forceinline__ double dot_rounded(double a0, double a1, double a2, double b0, double b1, double b2) {
    return __dadd_rn(__dadd_rn(__dmul_rn(a0, b0), __dmul_rn(a1, b1)), __dmul_rn(a2, b2));
}

// The vector centre - neighbour - translation and its squared length, to the bits of kernels/measure.py: all that decides
// on which side of a boundary a pair lies compares this r2.
struct Between {
    double d0, d1, d2, r2;
};

__device__ __forceinline__ Between between(
    double x0, double x1, double x2, double y0, double y1, double y2, double t0, double t1, double t2) {
    double d0 = (x0 - y0) - t0, d1 = (x1 - y1) - t1, d2 = (x2 - y2) - t2;
    return {d0, d1, d2, dot_rounded(d0, d1, d2, d0, d1, d2)};
}

// Whether two particles are so near that they count as one; their vector has no direction.
__device__ __forceinline__ bool coincide(double square, double limit2) {
    return square <= 1e-20 * limit2;
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
