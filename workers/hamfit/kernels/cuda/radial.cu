// Random radial features phi_k(r) = tanh(w_k x(r) + b_k) evaluated directly, and their gradients as rows.

// Plain value of feature k of a channel and its derivative by x.
__device__ __forceinline__ void plain_feature(
    double x, long long k, long long hidden, const double* weights, const double* biases, double& value,
    double& slope) {
    if (k < hidden) {
        value = tanh(x * weights[k] + biases[k]);
        slope = (1.0 - value * value) * weights[k];
    } else if (k == hidden) {
        value = x;
        slope = 1.0;
    } else {
        value = x * x;
        slope = 2.0 * x;
    }
}

// phi_k'(r)/r of one feature, the taper at the cutoff included.
__device__ __forceinline__ double feature_slope(
    double r, long long k, long long hidden, long long input_map, double low, double high, double cutoff,
    long long smooth, const double* weights, const double* biases) {
    double s, steep, value, slope;
    mapped(input_map, r, s, steep);
    double scale = 1.0 / (high - low);
    plain_feature((s - low) / (high - low), k, hidden, weights, biases, value, slope);
    slope *= steep * scale;
    if (smooth) {
        double v = 1.0 - (r / cutoff) * (r / cutoff);
        slope = slope * (v * v * v) + value * (-6.0 / (cutoff * cutoff) * (v * v));
    }
    return slope;
}

// Rows of all features of every centre: out[centre * dim + axis, column + c * per_channel + k], written, not added to.
//
// One block for each centre, one thread for each feature of a channel (and more rounds where features are more than
// threads). Each thread keeps the sums of its feature in registers and goes through the centre's edges in order.
extern "C" __global__ void radial_rows(
    const long long* offsets, const double* vector, const double* distance, const long long* channel,
    const long long* maps, const double* low, const double* high, const double* cutoffs, const long long* smooth,
    const double* weights, const double* biases, int channels, int hidden, int per_channel, int dim, long long stride,
    long long column, double* out, int centres) {
    long long centre = blockIdx.x;
    long long begin = offsets[centre], end = offsets[centre + 1];
    for (int c = 0; c < channels; ++c) {
        for (int k = threadIdx.x; k < per_channel; k += blockDim.x) {
            double sum0 = 0.0, sum1 = 0.0, sum2 = 0.0;
            for (long long e = begin; e < end; ++e) {
                if (channel[e] != c) continue;
                double slope = feature_slope(
                    distance[e], k, hidden, maps[c], low[c], high[c], cutoffs[c], smooth[c],
                    weights + (long long)c * hidden, biases + (long long)c * hidden);
                sum0 += slope * vector[e * 3];
                sum1 += slope * vector[e * 3 + 1];
                sum2 += slope * vector[e * 3 + 2];
            }
            double* place = out + centre * dim * stride + column + (long long)c * per_channel + k;
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
        const double* w = weights + (long long)c * hidden;
        const double* b = biases + (long long)c * hidden;
        bool cut = cutoffs[c] <= 1.7976931348623157e308;
        for (int k = threadIdx.x; k < per_channel; k += blockDim.x) {
            double at_cutoff = 0.0, ignored;
            if (cut && !smooth[c]) {
                double s, steep;
                mapped(maps[c], cutoffs[c], s, steep);
                plain_feature((s - low[c]) / (high[c] - low[c]), k, hidden, w, b, at_cutoff, ignored);
            }
            double sum = 0.0;
            for (long long e = begin; e < end; ++e) {
                if (channel[e] != c) continue;
                double s, steep, value;
                mapped(maps[c], distance[e], s, steep);
                plain_feature((s - low[c]) / (high[c] - low[c]), k, hidden, w, b, value, ignored);
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
