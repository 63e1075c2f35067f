// Neighbours within a cutoff by cells of particles: kernels/cells.py on a device, edge for edge in the same order.
//
// One thread for each centre. Panels are cut from the order of the cells, so the threads of a warp mostly go through the
// same candidates at the same time and their reads are broadcasts. Products and sums are rounded one by one, as on the
// processor: fused multiply-adds would move vectors off those of the host, and pairs across the cutoff.
//
// Arrays of all kernels here: x, s (3, N); lattice (3, 3) rows; grid (12): cells along each axis, cells in reach,
// 1 where an axis repeats, greatest number of boxes passed; start (cells + 1): where each cell begins.

__device__ __forceinline__ int floor_quotient(int a, int b) {
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

// Positions moved into the box along its periodic directions, and their fractional coordinates.
extern "C" __global__ void wrap_positions(
    const double* q, const double* lattice, const double* inverse, const int* periodic, double* x, double* s,
    long long particles) {
    long long i = global_thread();
    if (i >= particles) return;
    double q0 = q[i], q1 = q[particles + i], q2 = q[2 * particles + i];
    double x0 = q0, x1 = q1, x2 = q2;
    for (int k = 0; k < 3; ++k) {
        double t = dot_rounded(q0, q1, q2, inverse[k], inverse[3 + k], inverse[6 + k]);
        if (periodic[k]) {
            double boxes = floor(t);
            t -= boxes;
            x0 = __dadd_rn(x0, -__dmul_rn(boxes, lattice[3 * k]));
            x1 = __dadd_rn(x1, -__dmul_rn(boxes, lattice[3 * k + 1]));
            x2 = __dadd_rn(x2, -__dmul_rn(boxes, lattice[3 * k + 2]));
        }
        s[k * particles + i] = t;
    }
    x[i] = x0;
    x[particles + i] = x1;
    x[2 * particles + i] = x2;
}

// Number of the cell of each particle, the last axis fastest: floor((s - low) * scale) kept within the grid.
extern "C" __global__ void number_cells(
    const double* s, const double* low, const double* scale, const int* grid, int* number, long long particles) {
    long long i = global_thread();
    if (i >= particles) return;
    int cell = 0;
    for (int k = 0; k < 3; ++k) {
        double place = (s[k * particles + i] - low[k]) * scale[k];
        cell = cell * grid[k] + (int)min(max(place, 0.0), (double)(grid[k] - 1));
    }
    number[i] = cell;
}

// Calls take(p, box0, box1, box2, pair) for every particle p nearer than sqrt(limit), images included, in
// the order of the cells; the particle at x0 .. x2 in cell ``home`` meets itself too.
template <class Take>
__device__ __forceinline__ void visit_near(
    int home, double x0, double x1, double x2, double limit, const int* start, const int* grid, const double* lattice,
    const double* x, long long particles, Take take) {
    int shape0 = grid[0], shape1 = grid[1], shape2 = grid[2];
    int c0 = home / (shape1 * shape2), c1 = home / shape2 % shape1, c2 = home % shape2;
    int first = c2 - grid[5], last = c2 + grid[5];
    if (!grid[8]) {
        first = max(first, 0);
        last = min(last, shape2 - 1);
    }
    int lowest = floor_quotient(first, shape2), highest = floor_quotient(last, shape2);
    for (int e0 = c0 - grid[3]; e0 <= c0 + grid[3]; ++e0) {
        int b0 = floor_quotient(e0, shape0);
        if (b0 != 0 && !grid[6]) continue;
        for (int e1 = c1 - grid[4]; e1 <= c1 + grid[4]; ++e1) {
            int b1 = floor_quotient(e1, shape1);
            if (b1 != 0 && !grid[7]) continue;
            int column = ((e0 - b0 * shape0) * shape1 + e1 - b1 * shape1) * shape2;
            for (int b2 = lowest; b2 <= highest; ++b2) {
                int begin = start[column + max(first - b2 * shape2, 0)];
                int end = start[column + min(last - b2 * shape2, shape2 - 1) + 1];
                double t0 = dot_rounded(b0, b1, b2, lattice[0], lattice[3], lattice[6]);
                double t1 = dot_rounded(b0, b1, b2, lattice[1], lattice[4], lattice[7]);
                double t2 = dot_rounded(b0, b1, b2, lattice[2], lattice[5], lattice[8]);
                for (int p = begin; p < end; ++p) {
                    Between pair = between(x0, x1, x2, x[p], x[particles + p], x[2 * particles + p], t0, t1, t2);
                    if (pair.r2 < limit) take(p, b0, b1, b2, pair);
                }
            }
        }
    }
}

// Number of edges of each of ``count`` centres into counts.
//
// partner: a sorted place that coincides with the centre, else -1. verdict (2): the first centre, by its place among the
// centres, that is no particle (left as it is where there is none), and the last one that coincides with another.
extern "C" __global__ void count_edges(
    const long long* centres, const int* rank, const int* cell, const int* start, const int* grid,
    const double* lattice, const double* x, const int* species, const double* cutoffs2, const double* widest2,
    int n_species, long long particles, long long* counts, int* partner, int* verdict, long long count) {
    long long c = global_thread();
    if (c >= count) return;
    long long i = centres[c];
    partner[c] = -1;
    counts[c] = 0;
    if (i < 0 || i >= particles) {
        atomicMin(verdict, (int)c);
        return;
    }
    int a = rank[i], other = -1;
    long long found = 0;
    const double* own = cutoffs2 + species[a] * n_species;
    visit_near(
        cell[a], x[a], x[particles + a], x[2 * particles + a], widest2[species[a]], start, grid, lattice, x, particles,
        [&](int p, int, int, int, const Between& pair) {
            double limit2 = own[species[p]];
            if (!(pair.r2 < limit2)) return;
            if (!coincide(pair.r2, limit2)) {
                ++found;
            } else if (p != a) {
                other = p;
            }
        });
    counts[c] = found;
    if (other >= 0) {
        partner[c] = other;
        atomicMax(verdict + 1, (int)c);
    }
}

// The edges that count_edges counted, from offsets[c] on.
extern "C" __global__ void fill_edges(
    const long long* centres, const int* rank, const int* cell, const int* start, const int* grid,
    const double* lattice, const double* x, const int* species, const double* cutoffs2, const double* widest2,
    int n_species, long long particles, const int* order, const long long* channels, const long long* offsets,
    long long* neighbour, double* vector, double* distance, long long* channel, long long count) {
    long long c = global_thread();
    if (c >= count) return;
    int a = rank[centres[c]];
    long long e = offsets[c];
    const double* own = cutoffs2 + species[a] * n_species;
    const long long* own_channels = channels + species[a] * n_species;
    visit_near(
        cell[a], x[a], x[particles + a], x[2 * particles + a], widest2[species[a]], start, grid, lattice, x, particles,
        [&](int p, int, int, int, const Between& pair) {
            double limit2 = own[species[p]];
            if (!(pair.r2 < limit2) || coincide(pair.r2, limit2)) return;
            neighbour[e] = order[p];
            vector[3 * e] = pair.d0;
            vector[3 * e + 1] = pair.d1;
            vector[3 * e + 2] = pair.d2;
            distance[e] = sqrt(pair.r2);
            channel[e] = own_channels[species[p]];
            ++e;
        });
}

// Neighbours of every sorted particle and the number of the translation to each, one slot after the other: listed and
// codes (room, N), counts (N). Slots beyond ``room`` are counted but not written: the caller makes room and asks again.
extern "C" __global__ void list_neighbours(
    const int* cell, const int* start, const int* grid, const double* lattice, const double* x, const int* species,
    const double* cutoffs2, const double* widest2, int n_species, int room, int* listed, int* codes, int* counts,
    long long particles) {
    long long a = global_thread();
    if (a >= particles) return;
    int found = 0;
    int images0 = grid[9], images1 = grid[10], images2 = grid[11];
    const double* own = cutoffs2 + species[a] * n_species;
    visit_near(
        cell[a], x[a], x[particles + a], x[2 * particles + a], widest2[species[a]], start, grid, lattice, x, particles,
        [&](int p, int b0, int b1, int b2, const Between& pair) {
            if (!(pair.r2 < own[species[p]])) return;
            if (p == a && b0 == 0 && b1 == 0 && b2 == 0) return;
            if (found < room) {
                listed[found * particles + a] = p;
                codes[found * particles + a] =
                    ((b0 + images0) * (2 * images1 + 1) + b1 + images1) * (2 * images2 + 1) + b2 + images2;
            }
            ++found;
        });
    counts[a] = found;
}
