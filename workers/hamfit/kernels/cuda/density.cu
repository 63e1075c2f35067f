// Forces of one-density models in two passes, gathered as in forces.cu.
//
// The first pass adds up the density at each centre and looks up F and F' of it; the second pushes each centre by
// phi' + F'(rho_i) g_ab' + F'(rho_j) g_ba' of every pair. Distances and functions are evaluated again rather than kept:
// six numbers of every pair would be ten times the traffic of its place in the list. Functions are those of
// kernels/density.py: a row is cutoff^2, core^2, shift, scale, last piece, row of the first piece in the table.

struct Densities {
    const long long* which;
    const double* rows;
    int species, nothing;
    Curves functions;
};

// Function k of the distance at r^2, and minus its derivative by the distance over the distance.
__device__ __forceinline__ void radial_curve(
    const Densities& densities, long long k, double r2, double& value, double& pull) {
    value = pull = 0.0;
    const double* row = densities.rows + 6 * k;
    if (k == densities.nothing || !(r2 < row[0])) return;
    double slope;
    if (r2 >= row[1]) {
        double t = r2 * row[3] + row[2];
        long long at = min(max((long long)t, 0LL), (long long)row[4]);
        const double* own = densities.functions.coefficients + ((long long)row[5] + at) * SPLINE_ORDER;
        evaluate_piece(own, t - (double)at, value, slope);
        pull = -2.0 * row[3] * slope;
        return;
    }
    double r = sqrt(r2);
    evaluate_curve(densities.functions, k, r, value, slope);
    // a pair at one place has no direction and pushes nobody
    pull = r > 0.0 ? -slope / r : 0.0;
}

// F and F' (n) of the density at each centre, unless a particle left the skin in this stage or an earlier one.
extern "C" __global__ void density_sums(
    const double* atoms, const int* listed, const int* codes, const int* counts, const double* translations,
    const long long* which, const double* rows, int species, int nothing, const long long* segments,
    const double* ends, const long long* maps, const double* low, const double* scale, const long long* pieces,
    const long long* first, const double* coefficients, const double* nearest, const double* farthest,
    const long long* f_segments, const double* f_ends, const long long* f_maps, const double* f_low,
    const double* f_scale, const long long* f_pieces, const long long* f_first, const double* f_coefficients,
    const double* f_nearest, const double* f_farthest, const double* empty, int stage, const int* halt,
    double* energy, double* steep, int n) {
    long long i = global_thread();
    if (i >= n || *halt <= stage) return;
    Lists lists = {atoms, listed, codes, translations, n};
    Densities densities = {
        which, rows, species, nothing,
        {segments, ends, maps, low, scale, pieces, first, coefficients, nearest, farthest}};
    Curves embeddings = {
        f_segments, f_ends, f_maps, f_low, f_scale, f_pieces, f_first, f_coefficients, f_nearest, f_farthest};
    Atom centre = atom_of(atoms, i);
    double density = empty[centre.species];
    int count = counts[i];
    for (int slot = 0; slot < count; ++slot) {
        Neighbour other = neighbour_of(lists, centre, i, slot);
        double value, pull;
        radial_curve(densities, which[3 * (centre.species * species + other.species)], other.r2, value, pull);
        density += value;
    }
    evaluate_curve(embeddings, centre.species, density, energy[i], steep[i]);
}

// The force on centre i, and half of the energy of its pair functions and of its virial (xx yy zz xy xz yz).
template <bool observed>
__device__ __forceinline__ void density_push(
    const Lists& lists, const Densities& densities, const double* steep, long long i, int count, double* force,
    double* sums) {
    Atom centre = atom_of(lists.atoms, i);
    double own_steep = steep[i], f0 = 0.0, f1 = 0.0, f2 = 0.0;
    for (int slot = 0; slot < count; ++slot) {
        Neighbour other = neighbour_of(lists, centre, i, slot);
        const long long* which = densities.which + 3 * (centre.species * densities.species + other.species);
        double ignored, here, there, energy, pull;
        radial_curve(densities, which[2], other.r2, energy, pull);
        radial_curve(densities, which[0], other.r2, ignored, here);
        there = here;
        if (which[1] != which[0]) radial_curve(densities, which[1], other.r2, ignored, there);
        // added as the other end adds it, without a fused multiply-add that would round one of the two products only:
        // the pair's two forces cancel to the last bit
        double parts = __dadd_rn(__dmul_rn(here, own_steep), __dmul_rn(there, steep[other.index]));
        pull = __dadd_rn(pull, parts);
        f0 += pull * other.d0;
        f1 += pull * other.d1;
        f2 += pull * other.d2;
        if (observed) {
            sums[0] += 0.5 * energy;
            add_virial(other, 0.5 * pull, sums + 1);
        }
    }
    force[i] = f0;
    force[lists.n + i] = f1;
    force[2 * lists.n + i] = f2;
}

// Forces (3, n) of a stage from F' (n), unless a particle left the skin in this stage or an earlier one.
extern "C" __global__ void density_forces(
    const double* atoms, const int* listed, const int* codes, const int* counts, const double* translations,
    const long long* which, const double* rows, int species, int nothing, const long long* segments,
    const double* ends, const long long* maps, const double* low, const double* scale, const long long* pieces,
    const long long* first, const double* coefficients, const double* nearest, const double* farthest,
    const double* steep, int stage, const int* halt, double* force, int n) {
    long long i = global_thread();
    if (i >= n || *halt <= stage) return;
    Densities densities = {
        which, rows, species, nothing,
        {segments, ends, maps, low, scale, pieces, first, coefficients, nearest, farthest}};
    density_push<false>({atoms, listed, codes, translations, n}, densities, steep, i, counts[i], force, nullptr);
}

// Forces (3, n) from F' (n), and pair energy and virial of each centre's share, sums (7, n).
extern "C" __global__ void density_observe(
    const double* atoms, const int* listed, const int* codes, const int* counts, const double* translations,
    const long long* which, const double* rows, int species, int nothing, const long long* segments,
    const double* ends, const long long* maps, const double* low, const double* scale, const long long* pieces,
    const long long* first, const double* coefficients, const double* nearest, const double* farthest,
    const double* steep, double* force, double* sums, int n) {
    long long i = global_thread();
    if (i >= n) return;
    Densities densities = {
        which, rows, species, nothing,
        {segments, ends, maps, low, scale, pieces, first, coefficients, nearest, farthest}};
    double own[7] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    density_push<true>({atoms, listed, codes, translations, n}, densities, steep, i, counts[i], force, own);
    for (int word = 0; word < 7; ++word) sums[(long long)word * n + i] = own[word];
}
