"""The unpacker's program: unpacks one layer, and takes its memory with it when it ends.

Standard library only, and little of that: it is started once for each layer.
"""
