"""Other people's results: one file reads one kind of them into the rows of a study's table."""
