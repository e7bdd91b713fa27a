"""Labelling with people: batches that go out, answers that come back, where a campaign stands, what is delivered."""
