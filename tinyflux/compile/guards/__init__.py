"""What a function reads from its surroundings, and whether it has changed since it was traced."""
