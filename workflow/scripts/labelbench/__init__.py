"""Label-efficient learning: the library behind the job scripts."""
