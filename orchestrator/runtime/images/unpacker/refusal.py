"""What the unpacker says no to."""


class Refused(Exception):
    """Its text goes after "layer <digest> ": `has a member that ...`."""


def shown(name: bytes) -> str:
    """A name from an archive, fit to be told to people: no control characters, not too long."""
    text = repr(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else f"{text[:117]}...'"
