"""Encoders, and what they make of images once, before anything is trained."""
