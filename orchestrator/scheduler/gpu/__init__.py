"""Which GPUs of which node: placement policies over plain columns."""
