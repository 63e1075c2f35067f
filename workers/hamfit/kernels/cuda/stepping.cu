// The time step of a rollout beside its forces: kicks, drifts, and what happens when a particle leaves the skin.
//
// Stages of a batch are launched one after the other without a look at them. The word ``halt`` holds the first stage
// whose drift took a particle so far that the lists no longer hold (or that lost one: inf and nan are far too), and a
// number beyond all stages before. A drift is made while halt >= stage, forces and what follows while halt > stage: so a
// halted batch stands still with the drift of the halted stage made by all particles, and its forces by none.

// p += kick force, q += drift rate p. atoms (n, 4); momentum, force, start (3, n); rate (n).
extern "C" __global__ void kick_and_drift(
    double* atoms, double* momentum, const double* force, const double* start, const double* rate, double kick,
    double drift, double limit2, int stage, int* halt, int n) {
    long long i = global_thread();
    if (i >= n || *halt < stage) return;
    double per = drift * rate[i], square = 0.0;
    for (int axis = 0; axis < 3; ++axis) {
        long long at = (long long)axis * n + i;
        double p = momentum[at] + kick * force[at];
        double q = atoms[4 * i + axis] + per * p;
        double d = q - start[at];
        momentum[at] = p;
        atoms[4 * i + axis] = q;
        square += d * d;
    }
    // nan is not below anything
    if (!(square <= limit2)) atomicMin(halt, stage);
}

// The kick that ends a whole number of steps.
extern "C" __global__ void last_kick(double* momentum, const double* force, double kick, int n) {
    long long i = global_thread();
    if (i >= n) return;
    for (int axis = 0; axis < 3; ++axis) momentum[(long long)axis * n + i] += kick * force[(long long)axis * n + i];
}

// lost[0] is set to 1 where a number is not finite or a coordinate is beyond ``far``.
extern "C" __global__ void find_lost(const double* atoms, const double* momentum, double far, int* lost, int n) {
    long long i = global_thread();
    if (i >= n) return;
    bool kept = true;
    for (int axis = 0; axis < 3; ++axis) {
        double q = atoms[4 * i + axis], p = momentum[(long long)axis * n + i];
        kept = kept && fabs(q) <= far && fabs(q) <= 1.7976931348623157e308 && fabs(p) <= 1.7976931348623157e308;
    }
    if (!kept) atomicMax(lost, 1);
}
