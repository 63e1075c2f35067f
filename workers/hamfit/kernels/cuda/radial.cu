// Random radial features phi_k(r) = tanh(w_k x(r) + b_k) evaluated directly, and their gradients as rows.

// Plain value of a feature and its derivative by x: a tanh for link < 0, then the direct links x and x^2.
__device__ __forceinline__ void plain_feature(double x, int link, double w, double b, double& value, double& slope) {
    if (link < 0) {
        value = tanh(x * w + b);
        slope = (1.0 - value * value) * w;
    } else if (link == 0) {
        value = x;
        slope = 1.0;
    } else {
        value = x * x;
        slope = 2.0 * x;
    }
}

// What every feature of an edge shares: x(r), and the factors of the plain slope and of the plain value in phi'(r)/r.
__device__ __forceinline__ void edge_factors(
    double r, long long input_map, double low, double high, double cutoff, long long smooth, double& x,
    double& of_slope, double& of_value) {
    double s, steep;
    mapped(input_map, r, s, steep);
    x = (s - low) / (high - low);
    of_slope = steep * (1.0 / (high - low));
    of_value = 0.0;
    if (smooth) {
        double v = 1.0 - (r / cutoff) * (r / cutoff);
        of_slope *= v * v * v;
        of_value = -6.0 / (cutoff * cutoff) * (v * v);
    }
}

// Numbers of one edge in shared memory: x, two factors, vector, channel.
#define EDGE_WORDS 7

// Rows of all features of every centre: out[centre * dim + axis, column + c * per_channel + k], written, not added to.
//
// One block for each centre, one column for each thread (and more rounds where columns are more than threads). Edges
// are taken as many at a time as there are threads: each thread prepares one in shared memory, then goes through all of
// them in order, with the sums of its column in registers: all that is left for each edge and feature is a tanh and a
// few multiply-adds. Shared memory: EDGE_WORDS numbers for each thread.
extern "C" __global__ void radial_rows(
    const long long* offsets, const double* vector, const double* distance, const long long* channel,
    const long long* maps, const double* low, const double* high, const double* cutoffs, const long long* smooth,
    const double* weights, const double* biases, int channels, int hidden, int per_channel, int dim, long long stride,
    long long column, double* out, int centres) {
    extern __shared__ double tile[];
    long long centre = blockIdx.x;
    long long end = offsets[centre + 1];
    int columns = channels * per_channel;
    for (int first = 0; first < columns; first += blockDim.x) {
        int own = first + threadIdx.x;
        int c = own / per_channel, k = own % per_channel;
        double w = 0.0, b = 0.0;
        if (own < columns && k < hidden) {
            w = weights[(long long)c * hidden + k];
            b = biases[(long long)c * hidden + k];
        }
        double sum0 = 0.0, sum1 = 0.0, sum2 = 0.0;
        for (long long begin = offsets[centre]; begin < end; begin += blockDim.x) {
            int count = (int)min((long long)blockDim.x, end - begin);
            __syncthreads();
            if (threadIdx.x < count) {
                long long e = begin + threadIdx.x, at = channel[e];
                double* words = tile + threadIdx.x * EDGE_WORDS;
                edge_factors(
                    distance[e], maps[at], low[at], high[at], cutoffs[at], smooth[at], words[0], words[1], words[2]);
                for (int a = 0; a < 3; ++a) words[3 + a] = vector[e * 3 + a];
                words[6] = (double)at;
            }
            __syncthreads();
            if (own < columns) {
                for (int e = 0; e < count; ++e) {
                    const double* words = tile + e * EDGE_WORDS;
                    if ((int)words[6] != c) continue;
                    double value, slope;
                    plain_feature(words[0], k - hidden, w, b, value, slope);
                    slope = slope * words[1] + value * words[2];
                    sum0 += slope * words[3];
                    sum1 += slope * words[4];
                    sum2 += slope * words[5];
                }
            }
        }
        if (own < columns) {
            double* place = out + centre * dim * stride + column + own;
            place[0] = sum0;
            if (dim > 1) place[stride] = sum1;
            if (dim > 2) place[2 * stride] = sum2;
        }
    }
}

// Pooled features of a piece of a frame: sums[block, c * per_channel + k] over the edges of one block's share.
//
// Block b takes edges b * share .. (b + 1) * share - 1 in order; the caller adds the blocks in their order.
extern "C" __global__ void radial_sums(
    const double* distance, const long long* channel, const long long* maps, const double* low, const double* high,
    const double* cutoffs, const long long* smooth, const double* weights, const double* biases, int channels,
    int hidden, int per_channel, long long share, double* sums, long long edges) {
    long long begin = (long long)blockIdx.x * share, end = min(begin + share, edges);
    for (int c = 0; c < channels; ++c) {
        bool cut = cutoffs[c] <= 1.7976931348623157e308;
        for (int k = threadIdx.x; k < per_channel; k += blockDim.x) {
            double w = k < hidden ? weights[(long long)c * hidden + k] : 0.0;
            double b = k < hidden ? biases[(long long)c * hidden + k] : 0.0;
            double at_cutoff = 0.0, ignored;
            if (cut && !smooth[c]) {
                double s, steep;
                mapped(maps[c], cutoffs[c], s, steep);
                plain_feature((s - low[c]) / (high[c] - low[c]), k - hidden, w, b, at_cutoff, ignored);
            }
            double sum = 0.0;
            for (long long e = begin; e < end; ++e) {
                if (channel[e] != c) continue;
                double s, steep, value;
                mapped(maps[c], distance[e], s, steep);
                plain_feature((s - low[c]) / (high[c] - low[c]), k - hidden, w, b, value, ignored);
                if (smooth[c]) {
                    double v = 1.0 - (distance[e] / cutoffs[c]) * (distance[e] / cutoffs[c]);
                    value *= v * v * v;
                }
                sum += value - at_cutoff;
            }
            sums[(long long)blockIdx.x * channels * per_channel + (long long)c * per_channel + k] = sum;
        }
    }
}
