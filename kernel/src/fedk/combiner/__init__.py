"""A combiner: owns bytes for its parent, which owns everything else."""
