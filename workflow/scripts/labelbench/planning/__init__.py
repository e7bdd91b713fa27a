"""What the Snakefile asks while it builds the DAG, and what keeps a run going. No job imports this."""
