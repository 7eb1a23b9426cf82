"""What a transition sets off."""
