"""Readers of each input format: recognition, and a survey of the headers."""
