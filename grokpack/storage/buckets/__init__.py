"""Outputs to buckets of S3 and Google Cloud Storage: multipart uploads."""
