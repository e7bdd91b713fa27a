"""Strategies, and the exact algorithms behind them. They see a pool and bought labels, nothing else."""
