// Functions of one variable as polynomials on equal pieces, channel by channel: the tables of kernels/pair_tables.py.

struct Curves {
    const long long* segments;
    const double* ends;
    const long long* maps;
    const double* low;
    const double* scale;
    const long long* pieces;
    const long long* first;
    const double* coefficients;
    const double* nearest;
    const double* farthest;
};

// Value and derivative at u of a polynomial of SPLINE_DEGREE whose coefficients stand by rising power.
__device__ __forceinline__ void evaluate_piece(const double* row, double u, double& value, double& slope) {
    value = row[SPLINE_DEGREE];
    slope = 0.0;
    for (int power = SPLINE_DEGREE - 1; power >= 0; --power) {
        slope = slope * u + value;
        value = value * u + row[power];
    }
}

// Value of channel c at x and its derivative; beyond the segments it goes on along its tangent.
__device__ __forceinline__ void evaluate_curve(const Curves& curves, long long c, double x, double& value, double& slope) {
    double inside = min(max(x, curves.nearest[c]), curves.farthest[c]);
    long long g = curves.segments[c];
    while (g < curves.segments[c + 1] - 1 && inside > curves.ends[g]) ++g;
    double s, steep;
    mapped(curves.maps[g], inside, s, steep);
    double t = (s - curves.low[g]) * curves.scale[g];
    long long k = min(max((long long)t, 0LL), curves.pieces[g] - 1);
    evaluate_piece(curves.coefficients + (curves.first[g] + k) * SPLINE_ORDER, t - (double)k, value, slope);
    slope *= curves.scale[g] * steep * inside;
    value += slope * (x - inside);
}
