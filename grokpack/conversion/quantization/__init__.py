"""Quantization policies, and the importance of inputs."""
