"""Proxies, one file each: the small models that are trained on cached embeddings in every round."""
