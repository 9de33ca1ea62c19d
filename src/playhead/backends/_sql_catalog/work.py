"""What a claim tells of an object, and of a message that loses its workers."""

from __future__ import annotations


def path_of(key: str, stage: str) -> str:
    """The path of an object: what follows its execution and its stage in the key."""
    head = key.find("/") + 1
    return key[head + len(stage) + 1 :] if key.startswith(stage + "/", head) else key[head:]


def lost_in_the_last(attempts: int) -> str:
    """The error of a message whose worker died in the last of its attempts."""
    return (
        f"its worker died in the last of {attempts} attempts: find out what it does to its process (memory? "
        "a crash?), then send it again"
    )
