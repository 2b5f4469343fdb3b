"""Convolutions over blocks of channels."""
