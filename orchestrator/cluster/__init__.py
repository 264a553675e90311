"""Who is there, and what the store says: our view of the cluster on the `store` package."""
