"""Trainers, one file each: the loss of one training step, on cached embeddings and on images alike."""
