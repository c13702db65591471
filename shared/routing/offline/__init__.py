"""What studies offline: outcome matrices, baselines, evaluation. No running service needs it."""
