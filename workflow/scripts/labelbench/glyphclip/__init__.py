"""How the encoder that ships with the repository was made."""
