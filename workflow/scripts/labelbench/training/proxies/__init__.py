"""What is trained in every round, one file each: small models on cached embeddings (proxies), or the encoder itself."""
