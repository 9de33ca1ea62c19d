"""What runs an adapter: the chain of a route, its steps, and the slots, threads and child processes they use.

No I/O except the adapters' own.
"""
