"""Dashboards of other tools for studies."""
