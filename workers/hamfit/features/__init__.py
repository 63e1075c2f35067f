"""Random features: samplers, and the blocks that pool them over particles and pairs."""
