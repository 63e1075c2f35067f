"""Learn the Hamiltonian of a particle system from its trajectories in one linear solve."""
