"""Trainers, on cached embeddings and end to end; what a trained model leaves behind."""
