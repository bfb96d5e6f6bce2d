"""Mirrors of a study in trackers: each file knows one of them, and imports it when it is asked."""
