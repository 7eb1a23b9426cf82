"""What to do about it: groups, policies, guards and decisions. Pure."""
