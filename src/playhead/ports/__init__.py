"""The ports: what the services need of the world, as contracts in prose."""
