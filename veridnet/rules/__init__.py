"""Rules: what is done with which packets."""
