"""What lists and explains what is stored: stages, lookups, cursors, families of messages."""
