"""What says that something is no program."""

__all__ = ["Unsupported"]


class Unsupported(Exception):
    """Why something is no program: its text says it to a user."""
