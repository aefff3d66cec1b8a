"""Runs: how a plan is executed, journalled, resumed and published."""
