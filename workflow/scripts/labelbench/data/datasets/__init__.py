"""Datasets, one file each: what the images are, how they are split, what the classes are called."""
