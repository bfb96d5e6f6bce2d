"""Ranges of settings and named methods with their paper defaults; no torch, nothing of ours."""
