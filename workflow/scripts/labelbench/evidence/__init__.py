"""From metrics to tables, figures and claims, each with its uncertainty."""
