"""Listing and explaining stored data: stages, lookups, cursors, families of messages."""
