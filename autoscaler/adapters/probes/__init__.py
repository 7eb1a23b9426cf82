"""What is asked rather than told."""
