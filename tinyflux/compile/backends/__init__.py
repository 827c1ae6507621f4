"""What writes a scheduled program in a language, has it built, and runs it."""
