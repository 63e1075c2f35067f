"""Rollouts: fitted models run from many initial states."""
