// Environments of the many-body block and the chain rule back through their edges: see features/manybody_rows.py.
//
// An edge belongs to the environment of its centre; u is its unit vector, centre minus neighbour. Components of the
// tensors are the monomials u_x^a u_y^b u_z^c of ``exponents`` (M, 3), in ascending rank: rank l has (l + 1) (l + 2) / 2 of
// them and begins at l (l + 1) (l + 2) / 6.

// Edges whose bumps and monomials a block of ``manybody_moments`` holds at a time.
#define MANYBODY_STAGED 16

__device__ __forceinline__ double manybody_power(double u, long long k) {
    double power = 1.0;
    for (long long i = 0; i < k; ++i) power *= u;
    return power;
}

__device__ __forceinline__ double manybody_monomial(const double* u, const long long* e) {
    return manybody_power(u[0], e[0]) * manybody_power(u[1], e[1]) * manybody_power(u[2], e[2]);
}

// Derivative of a monomial by the edge's vector: (grad_u - rank u) / r, the second term removes what lies along the edge.
__device__ __forceinline__ void manybody_tangent(
    const double* u, double inverse, const long long* e, double value, double* tangent) {
    double pull = (double)(e[0] + e[1] + e[2]) * value;
    for (int axis = 0; axis < 3; ++axis) {
        double steep = 0.0;
        if (e[axis] > 0) {
            steep = (double)e[axis] * manybody_power(u[axis], e[axis] - 1);
            for (int other = 0; other < 3; ++other)
                if (other != axis) steep *= manybody_power(u[other], e[other]);
        }
        tangent[axis] = (steep - pull * u[axis]) * inverse;
    }
}

// Value and derivative by r of bump b, as RadialBumps.evaluate has it; per_width is 1 / (width of a bump in log r).
__device__ __forceinline__ void manybody_bump(
    double r, int b, double lower, double cutoff, double per_width, double width, double& value, double& slope) {
    double offset = log(r / lower) * per_width - (double)b / width;
    double bump = exp(-0.5 * offset * offset);
    double inside = max(1.0 - (r / cutoff) * (r / cutoff), 0.0);
    double taper = inside * inside;
    value = bump * taper;
    slope = bump * (offset * (-per_width * taper / r) - 4.0 * inside * r / (cutoff * cutoff));
}

// Moments with plain bumps: moments[environment, m, s * n_bumps + b], written, not added to.
//
// A block for each environment, species s of neighbours and tile of components (m, b), a thread for each of these: it
// keeps its sum in a register while the block goes through the edges in order, staging their bumps and monomials.
// Shared memory: MANYBODY_STAGED * (n_bumps + n_monomials + 1).
extern "C" __global__ void manybody_moments(
    const long long* offsets, const long long* neighbour, const double* vector, const double* distance,
    const long long* centres, const long long* species, const double* lower, const double* cutoff,
    const double* per_width, double width, const long long* exponents, int n_species, int n_bumps, int n_monomials,
    int tiles, double* moments) {
    extern __shared__ double tile[];
    int each = n_bumps + n_monomials;
    double* kinds = tile + MANYBODY_STAGED * each;
    long long environment = blockIdx.x / (n_species * tiles);
    int towards = blockIdx.x / tiles % n_species;
    int own = (blockIdx.x % tiles) * blockDim.x + threadIdx.x;
    int m = own / n_bumps, b = own % n_bumps;
    bool used = own < n_monomials * n_bumps;
    long long pair = species[centres[environment]] * n_species + towards;
    double sum = 0.0;
    long long end = offsets[environment + 1];
    for (long long begin = offsets[environment]; begin < end; begin += MANYBODY_STAGED) {
        int count = (int)min((long long)MANYBODY_STAGED, end - begin);
        __syncthreads();
        for (int item = threadIdx.x; item < count * each; item += blockDim.x) {
            int k = item / each, j = item % each;
            long long e = begin + k, kind = species[neighbour[e]];
            if (j == 0) kinds[k] = (double)kind;
            if (kind != towards) continue;
            if (j < n_bumps) {
                double value, slope;
                manybody_bump(distance[e], j, lower[pair], cutoff[pair], per_width[pair], width, value, slope);
                tile[item] = value;
            } else {
                double inverse = 1.0 / distance[e];
                double u[3] = {vector[e * 3] * inverse, vector[e * 3 + 1] * inverse, vector[e * 3 + 2] * inverse};
                tile[item] = manybody_monomial(u, exponents + (j - n_bumps) * 3);
            }
        }
        __syncthreads();
        if (used)
            for (int k = 0; k < count; ++k)
                if (kinds[k] == (double)towards) sum += tile[k * each + n_bumps + m] * tile[k * each + b];
    }
    if (used) moments[((environment * n_monomials + m) * n_species + towards) * n_bumps + b] = sum;
}

// Standardised invariants of environments of one species, and what each moment does to its own: a thread for each
// environment and channel. moments (n, M, n_radial), mixed, become d(standardised invariant)/d(moment) in place;
// standard (n, n_degrees * n_radial); mean and deviation are of the species.
extern "C" __global__ void manybody_invariants(
    const double* mean, const double* deviation, const long long* degree, const double* multiplicity,
    int n_monomials, int n_radial, int n_degrees, double* moments, double* standard, long long count) {
    long long own = global_thread();
    if (own >= count) return;
    long long environment = own / n_radial, c = own % n_radial;
    double* component = moments + environment * n_monomials * n_radial + c;
    double* value = standard + environment * n_degrees * n_radial + c;
    value[0] = (component[0] - mean[c]) / deviation[c];
    component[0] = 1.0 / deviation[c];
    int m = 1;
    for (int rank = 1; rank < n_degrees; ++rank) {
        long long k = (long long)rank * n_radial + c;
        double norm = 0.0;
        for (; m < n_monomials && degree[m] == rank; ++m) {
            double moment = component[(long long)m * n_radial];
            norm += moment * moment * multiplicity[m];
            component[(long long)m * n_radial] = 2.0 * multiplicity[m] * moment / deviation[k];
        }
        value[(long long)rank * n_radial] = (norm - mean[k]) / deviation[k];
    }
}

// tanh'(activation + bias) of every feature in every environment, in place of the activation (n, features).
extern "C" __global__ void manybody_slopes(const double* bias, long long features, double* activation, long long count) {
    long long own = global_thread();
    if (own >= count) return;
    double value = tanh(activation[own] + bias[own % features]);
    activation[own] = 1.0 - value * value;
}

// Number of terms of every species in the rows of every centre: counts[s * n_centres + i], a thread for each.
extern "C" __global__ void manybody_term_counts(
    const long long* offsets, const long long* neighbour, const long long* centres, const long long* species,
    int n_centres, long long* counts, int count) {
    int own = (int)global_thread();
    if (own >= count) return;
    int s = own / n_centres, i = own % n_centres;
    long long terms = species[centres[i]] == s;
    for (long long e = offsets[i]; e < offsets[i + 1]; ++e) terms += species[neighbour[e]] == s;
    counts[own] = terms;
}

// The terms themselves, from first[s * n_centres + i] on: the centre's own (edge -1) before those of its edges.
// row: index of the centre; owner: position of the environment whose invariants the term differentiates.
extern "C" __global__ void manybody_term_list(
    const long long* offsets, const long long* neighbour, const long long* centres, const long long* species,
    const long long* position, const long long* first, int n_centres, long long* edge, long long* row,
    long long* owner, int count) {
    int own = (int)global_thread();
    if (own >= count) return;
    int s = own / n_centres, i = own % n_centres;
    long long place = first[own];
    if (species[centres[i]] == s) {
        edge[place] = -1;
        row[place] = i;
        owner[place++] = position[centres[i]];
    }
    for (long long e = offsets[i]; e < offsets[i + 1]; ++e) {
        if (species[neighbour[e]] != s) continue;
        edge[place] = e;
        row[place] = i;
        owner[place++] = position[neighbour[e]];
    }
}

// Derivatives of the invariants of species ``s`` by positions of the centres: out[t * dim + axis, invariant], of
// terms first_term + t.
//
// A block for each term and tile of invariants, a thread for each invariant (rank, channel). The centre's own term sums
// over its edges in order; that of an edge is minus the derivative of the neighbour's environment by the reversed edge.
// response (n, M, n_radial) as ``manybody_invariants`` leaves it, mixing (n_species * n_bumps, n_radial) of species s.
// Shared memory: 2 * n_bumps, 4 * n_monomials, 3.
extern "C" __global__ void manybody_terms(
    const long long* offsets, const long long* neighbour, const double* vector, const double* distance,
    const long long* centres, const long long* species, const long long* term_edge, const long long* term_row,
    const long long* term_owner, const double* lower, const double* cutoff, const double* per_width, double width,
    const double* mixing, const long long* exponents, const double* response, int s, int n_species, int n_bumps,
    int n_monomials, int n_radial, int n_invariants, int dim, int tiles, long long first_term, double* out) {
    extern __shared__ double tile[];
    double* bumps = tile;
    double* slopes = bumps + n_bumps;
    double* values = slopes + n_bumps;
    double* tangents = values + n_monomials;
    double* direction = tangents + 3 * n_monomials;
    long long local = blockIdx.x / tiles, t = first_term + local;
    int own = (blockIdx.x % tiles) * blockDim.x + threadIdx.x;
    int rank = own / n_radial, c = own % n_radial;
    int from = rank * (rank + 1) * (rank + 2) / 6, upto = (rank + 1) * (rank + 2) * (rank + 3) / 6;
    long long begin = term_edge[t], end = begin + 1, row = term_row[t];
    bool is_edge = begin >= 0;
    double sign = is_edge ? -1.0 : 1.0;
    if (!is_edge) {
        begin = offsets[row];
        end = offsets[row + 1];
    }
    const double* sensitivity = response + term_owner[t] * n_monomials * n_radial + c;
    double sum[3] = {0.0, 0.0, 0.0};
    for (long long e = begin; e < end; ++e) {
        long long towards = is_edge ? species[centres[row]] : species[neighbour[e]];
        long long pair = s * n_species + towards;
        __syncthreads();
        for (int item = threadIdx.x; item < n_bumps + n_monomials; item += blockDim.x) {
            if (item < n_bumps) {
                manybody_bump(
                    distance[e], item, lower[pair], cutoff[pair], per_width[pair], width, bumps[item], slopes[item]);
            } else {
                int m = item - n_bumps;
                double inverse = 1.0 / distance[e];
                double u[3];
                for (int axis = 0; axis < 3; ++axis) u[axis] = sign * vector[e * 3 + axis] * inverse;
                values[m] = manybody_monomial(u, exponents + m * 3);
                manybody_tangent(u, inverse, exponents + m * 3, values[m], tangents + m * 3);
                if (m == 0)
                    for (int axis = 0; axis < 3; ++axis) direction[axis] = u[axis];
            }
        }
        __syncthreads();
        if (own >= n_invariants) continue;
        const double* mixture = mixing + towards * n_bumps * n_radial + c;
        double radial = 0.0, slope = 0.0;
        for (int b = 0; b < n_bumps; ++b) {
            radial += bumps[b] * mixture[(long long)b * n_radial];
            slope += slopes[b] * mixture[(long long)b * n_radial];
        }
        double along = 0.0, across[3] = {0.0, 0.0, 0.0};
        for (int m = from; m < upto; ++m) {
            double weight = sensitivity[(long long)m * n_radial];
            along += weight * values[m];
            for (int axis = 0; axis < 3; ++axis) across[axis] += weight * tangents[m * 3 + axis];
        }
        for (int axis = 0; axis < 3; ++axis)
            sum[axis] += sign * (slope * along * direction[axis] + radial * across[axis]);
    }
    if (own < n_invariants)
        for (int axis = 0; axis < dim; ++axis) out[(local * dim + axis) * n_invariants + own] = sum[axis];
}

// Rows of centres as sums over their terms, in order: out[row + i * dim + axis, column + k], written, not added to.
//
// A block for each centre and tile of columns, a thread for each column. Terms of centre i are first[i] .. first[i + 1]
// - 1, counted from first[0] in values (terms, dim, width) and from the first of all in owner. Where ``weighted`` is set
// a term counts with slopes[owner, k] (n, width), which is not read otherwise.
extern "C" __global__ void manybody_rows(
    const double* values, const double* slopes, int weighted, const long long* first, const long long* owner,
    long long width, int dim, int tiles, long long stride, long long row, long long column, double* out) {
    long long i = blockIdx.x / tiles;
    long long k = (long long)(blockIdx.x % tiles) * blockDim.x + threadIdx.x;
    if (k >= width) return;
    double sum0 = 0.0, sum1 = 0.0, sum2 = 0.0;
    for (long long t = first[i]; t < first[i + 1]; ++t) {
        double factor = weighted ? slopes[owner[t] * width + k] : 1.0;
        const double* term = values + (t - first[0]) * dim * width + k;
        sum0 += term[0] * factor;
        if (dim > 1) sum1 += term[width] * factor;
        if (dim > 2) sum2 += term[2 * width] * factor;
    }
    double* place = out + (row + i * dim) * stride + column + k;
    place[0] = sum0;
    if (dim > 1) place[stride] = sum1;
    if (dim > 2) place[2 * stride] = sum2;
}
