"""Rules: what they say, the files that hold them, and what is wrong with them."""
