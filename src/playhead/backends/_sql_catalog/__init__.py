"""What the catalogs in SQLite and in PostgreSQL must never say differently: the meaning of their rows.

Statements stay with each database. Here are the columns that both ask for, with what is made of them, the
numbers that stand in them, and decisions about rows that are in memory. Nothing here talks to a database.
A file is for those of its name in both.
"""
