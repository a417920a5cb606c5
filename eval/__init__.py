"""The scales: datasets, metrics, runs, reports."""
