"""MLflow: the store of runs, models and their artifacts."""
