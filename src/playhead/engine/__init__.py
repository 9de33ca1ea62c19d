"""The engine: what happens to one item on its way through a route. No I/O but the adapters' own."""
