"""Ranges of settings and named methods with their paper defaults; imports neither torch nor ours."""
