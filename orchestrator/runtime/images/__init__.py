"""The images of a node: pulled with skopeo, unpacked once layer by layer, and cleared away."""
