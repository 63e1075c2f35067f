// Particles of a rollout and their neighbour lists, as kernels read them.
//
// A particle is a row of four numbers, x y z and its species, because a gather of one is then 32 bytes of one sector of
// memory; three arrays would be three sectors of which most is thrown away. What only its own thread reads (momenta,
// forces) lies axis by axis. Lists are full and lie slot by slot, so that the threads of a warp read side by side.

// Two numbers that are loaded at once.
struct alignas(16) Two {
    double a, b;
};

struct Atom {
    double x, y, z;
    int species;
};

__device__ __forceinline__ Atom atom_of(const double* atoms, long long i) {
    const Two* row = reinterpret_cast<const Two*>(atoms) + 2 * i;
    Two first = row[0], second = row[1];
    return {first.a, first.b, second.a, (int)second.b};
}

// A neighbour as its centre sees it: d = centre - neighbour - translation.
struct Neighbour {
    double d0, d1, d2, r2;
    int index, species;
};

struct Lists {
    const double* atoms;
    const int* listed;
    const int* codes;
    const double* translations;
    long long n;
};

__device__ __forceinline__ Neighbour neighbour_of(const Lists& lists, const Atom& centre, long long i, int slot) {
    long long at = slot * lists.n + i;
    int j = lists.listed[at];
    const double* t = lists.translations + 3 * lists.codes[at];
    Atom other = atom_of(lists.atoms, j);
    // i sees j at exactly minus the vector at which j sees i: forces then cancel to the last bit
    Between pair = between(centre.x, centre.y, centre.z, other.x, other.y, other.z, t[0], t[1], t[2]);
    return {pair.d0, pair.d1, pair.d2, pair.r2, j, other.species};
}

// pull d (x) d, added to xx yy zz xy xz yz.
__device__ __forceinline__ void add_virial(const Neighbour& other, double pull, double* virial) {
    virial[0] += pull * other.d0 * other.d0;
    virial[1] += pull * other.d1 * other.d1;
    virial[2] += pull * other.d2 * other.d2;
    virial[3] += pull * other.d0 * other.d1;
    virial[4] += pull * other.d0 * other.d2;
    virial[5] += pull * other.d1 * other.d2;
}

// Pairs within the cutoff of each centre: tallies (3, n) are those outside the range of training, all, and those at one
// place. extents (C, 2); a channel without a range has all its pairs outside.
extern "C" __global__ void count_pairs(
    const double* atoms, const int* listed, const int* codes, const int* counts, const double* translations,
    const long long* channels, const double* cutoff2, const double* extents, int species, int* tallies, int n) {
    long long i = global_thread();
    if (i >= n) return;
    Lists lists = {atoms, listed, codes, translations, n};
    Atom centre = atom_of(atoms, i);
    int outside = 0, near = 0, coincident = 0, count = counts[i];
    for (int slot = 0; slot < count; ++slot) {
        Neighbour other = neighbour_of(lists, centre, i, slot);
        long long c = channels[centre.species * species + other.species];
        if (!(other.r2 < cutoff2[c])) continue;
        double r = sqrt(other.r2);
        outside += !(extents[2 * c] <= r && r <= extents[2 * c + 1]);
        near += 1;
        coincident += coincide(other.r2, cutoff2[c]);
    }
    tallies[i] = outside;
    tallies[n + i] = near;
    tallies[2LL * n + i] = coincident;
}
