"""Observables of trajectories, with honest standard errors: g(r), displacement, autocorrelation, pressure, trends."""
