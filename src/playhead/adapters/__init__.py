"""The built-in adapters, one in each file. They use only what any adapter can use."""
