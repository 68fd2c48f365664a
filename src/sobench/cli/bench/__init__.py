"""`sobench bench`: measurements of the harness itself."""
