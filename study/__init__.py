"""Studies: what is compared, and running it on Ray."""
