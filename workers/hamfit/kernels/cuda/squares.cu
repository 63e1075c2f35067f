// Squared lengths of rows: the first ``columns`` numbers of each row, rows ``stride`` apart.
//
// One block of 32 threads for each row, so that reads of a row are coalesced; sums are joined in a fixed tree. Shared
// memory: 32 numbers.

template <class Number>
__device__ __forceinline__ double square_share(const Number* rows, long long stride, int columns) {
    const Number* own = rows + (long long)blockIdx.x * stride;
    double sum = 0.0;
    for (int k = threadIdx.x; k < columns; k += 32) sum += (double)own[k] * (double)own[k];
    return sum;
}

extern "C" __global__ void row_squares(
    const double* rows, long long stride, int columns, double* squares, int count) {
    extern __shared__ double tile[];
    int lane = threadIdx.x;
    tile[lane] = square_share(rows, stride, columns);
    for (int half = 16; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) tile[lane] += tile[lane + half];
    }
    if (lane == 0) squares[blockIdx.x] = tile[0];
}

extern "C" __global__ void row_squares_single(
    const float* rows, long long stride, int columns, double* squares, int count) {
    extern __shared__ double tile[];
    int lane = threadIdx.x;
    tile[lane] = square_share(rows, stride, columns);
    for (int half = 16; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) tile[lane] += tile[lane + half];
    }
    if (lane == 0) squares[blockIdx.x] = tile[0];
}
