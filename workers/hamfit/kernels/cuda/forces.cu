// Forces of pairs within cutoffs, gathered: one thread for each centre goes over its list, and writes what acts on it.
//
// Every pair is measured from both its ends. That is twice the arithmetic of a half list and no scatter: nothing is
// added to what another thread owns, so sums have one order and no atomics. Laws are those of kernels/lanes.py: a row
// is cutoff^2, core^2, shift, scale, number of coefficients n, then n of -E'(r)/r and n of E, highest power first; with
// n = 0, and nearer than the core, the energy is a curve of the distance.

struct PairLaws {
    const long long* channels;
    const double* rows;
    const long long* inverse;
    const double* cutoff2;
    int words, species;
    Curves curves;
};

__device__ __forceinline__ double horner(const double* coefficients, int n, double u) {
    double value = coefficients[0];
    for (int k = 1; k < n; ++k) value = value * u + coefficients[k];
    return value;
}

// -E'(r)/r of a pair within its cutoff, and its energy where that is asked for; a pair at one place pushes nobody.
template <bool observed>
__device__ __forceinline__ double pair_pull(const PairLaws& laws, long long c, double r2, double& energy) {
    const double* row = laws.rows + c * laws.words;
    int n = (int)row[4];
    if (n > 0 && r2 >= row[1]) {
        double variable = laws.inverse[c] ? 1.0 / r2 : r2;
        double u = variable * row[3] + row[2];
        double pull = horner(row + 5, n, u);
        if (observed) energy = horner(row + 5 + n, n, u);
        return laws.inverse[c] ? pull * (variable * variable) : pull;
    }
    if (r2 == 0.0) return 0.0;
    double r = sqrt(r2), value, slope;
    evaluate_curve(laws.curves, c, r, value, slope);
    if (observed) energy = value;
    return -slope / r;
}

// The force on centre i, and half of the energy and virial (xx yy zz xy xz yz) of its pairs.
template <bool observed>
__device__ __forceinline__ void pair_sums(
    const Lists& lists, const PairLaws& laws, long long i, int count, double* force, double* sums) {
    Atom centre = atom_of(lists.atoms, i);
    double f0 = 0.0, f1 = 0.0, f2 = 0.0;
    for (int slot = 0; slot < count; ++slot) {
        Neighbour other = neighbour_of(lists, centre, i, slot);
        long long c = laws.channels[centre.species * laws.species + other.species];
        if (!(other.r2 < laws.cutoff2[c])) continue;
        double energy = 0.0;
        double pull = pair_pull<observed>(laws, c, other.r2, energy);
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

// Forces (3, n) of a stage, unless a particle left the skin in this stage or an earlier one.
extern "C" __global__ void pair_forces(
    const double* atoms, const int* listed, const int* codes, const int* counts, const double* translations,
    const long long* channels, const double* rows, const long long* inverse, const double* cutoff2, int words,
    int species, const long long* segments, const double* ends, const long long* maps, const double* low,
    const double* scale, const long long* pieces, const long long* first, const double* coefficients,
    const double* nearest, const double* farthest, int stage, const int* halt, double* force, int n) {
    long long i = global_thread();
    if (i >= n || *halt <= stage) return;
    PairLaws laws = {
        channels, rows, inverse, cutoff2, words, species,
        {segments, ends, maps, low, scale, pieces, first, coefficients, nearest, farthest}};
    pair_sums<false>({atoms, listed, codes, translations, n}, laws, i, counts[i], force, nullptr);
}

// Forces (3, n), and energy and virial of each centre's share, sums (7, n).
extern "C" __global__ void pair_observe(
    const double* atoms, const int* listed, const int* codes, const int* counts, const double* translations,
    const long long* channels, const double* rows, const long long* inverse, const double* cutoff2, int words,
    int species, const long long* segments, const double* ends, const long long* maps, const double* low,
    const double* scale, const long long* pieces, const long long* first, const double* coefficients,
    const double* nearest, const double* farthest, double* force, double* sums, int n) {
    long long i = global_thread();
    if (i >= n) return;
    PairLaws laws = {
        channels, rows, inverse, cutoff2, words, species,
        {segments, ends, maps, low, scale, pieces, first, coefficients, nearest, farthest}};
    double own[7] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    pair_sums<true>({atoms, listed, codes, translations, n}, laws, i, counts[i], force, own);
    for (int word = 0; word < 7; ++word) sums[(long long)word * n + i] = own[word];
}
