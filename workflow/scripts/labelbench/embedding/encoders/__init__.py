"""Pretrained image encoders, one per file; each has `Config`, `files`, `has_text_tower` and `load`."""
