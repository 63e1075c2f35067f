// B-splines of the distance, and their gradients as rows of the least-squares problem (tables of features/tables.py).

// The piece that an edge falls into: its first column, the place in it, and dt/dr / r. False outside the intervals.
__device__ __forceinline__ bool find_piece(
    double r, long long input_map, double low, double scale, long long pieces, long long& piece, double& local,
    double& slope) {
    double s, steep;
    mapped(input_map, r, s, steep);
    double t = (s - low) * scale;
    if (!(t >= 0.0 && t <= (double)pieces)) return false;
    piece = min((long long)t, pieces - 1);
    local = t - (double)piece;
    slope = steep * scale;
    return true;
}

// Gradients of all splines of every edge, added to the rows of its centre in the order of the edges.
//
// One block of 32 threads for each centre. Edges are taken 32 at a time: thread k evaluates the eight splines of edge k
// into shared memory, then thread (axis, spline) adds its share of one edge after the other. Within one edge all threads
// write to different places, and a barrier parts the edges, so the order of every sum is that of the edges.
// Shared memory: 32 * 8 splines, 32 * 3 vectors, 32 columns; then dim rows of ``width`` numbers where ``staged`` is set
// (they fit), else the rows are added to in global memory. outside (E): 1 for edges outside the intervals, else 0.
// out (centres * dim, stride), of which columns column .. column + width - 1 are written, not added to.
extern "C" __global__ void spline_rows(
    const long long* offsets, const double* vector, const double* distance, const long long* channel,
    const long long* maps, const double* low, const double* scale, const long long* pieces,
    const long long* first_column, const double* slope_basis, int dim, long long stride, long long column,
    long long width, int staged, double* out, int* outside, int centres) {
    extern __shared__ double tile[];
    double* splines = tile;
    double* vectors = tile + 32 * SPLINE_ORDER;
    double* columns = vectors + 32 * 3;
    int lane = threadIdx.x;
    long long centre = blockIdx.x;
    double* rows = staged ? columns + 32 : out + centre * dim * stride + column;
    long long row_stride = staged ? width : stride;
    for (int axis = 0; axis < dim; ++axis)
        for (long long k = lane; k < width; k += 32) rows[axis * row_stride + k] = 0.0;
    int axis = lane / SPLINE_ORDER, spline = lane % SPLINE_ORDER;
    long long end = offsets[centre + 1];
    for (long long begin = offsets[centre]; begin < end; begin += 32) {
        __syncthreads();
        int count = (int)min(32LL, end - begin);
        if (lane < count) {
            long long e = begin + lane, c = channel[e], piece = 0;
            double local = 0.0, slope = 0.0;
            bool inside = find_piece(distance[e], maps[c], low[c], scale[c], pieces[c], piece, local, slope);
            outside[e] = !inside;
            if (!inside) slope = 0.0;
            for (int j = 0; j < SPLINE_ORDER; ++j) {
                double value = slope_basis[(SPLINE_DEGREE - 1) * SPLINE_ORDER + j];
                for (int power = SPLINE_DEGREE - 2; power >= 0; --power)
                    value = value * local + slope_basis[power * SPLINE_ORDER + j];
                splines[lane * SPLINE_ORDER + j] = value * slope;
            }
            for (int a = 0; a < 3; ++a) vectors[lane * 3 + a] = vector[e * 3 + a];
            columns[lane] = (double)(first_column[c] + piece);
        }
        for (int k = 0; k < count; ++k) {
            __syncthreads();
            if (axis < dim)
                rows[axis * row_stride + (long long)columns[k] + spline] +=
                    vectors[k * 3 + axis] * splines[k * SPLINE_ORDER + spline];
        }
    }
    __syncthreads();
    if (staged)
        for (int a = 0; a < dim; ++a)
            for (long long k = lane; k < width; k += 32)
                out[(centre * dim + a) * stride + column + k] = rows[a * width + k];
}
