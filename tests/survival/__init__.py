"""Runs that are killed, stopped, starved of disk or left by their server, in real processes."""
