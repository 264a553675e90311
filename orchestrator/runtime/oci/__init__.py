"""Containers made of images, by any OCI runtime's command line, each under its own conmon."""
