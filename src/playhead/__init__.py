"""Playhead: run message pipelines, store every stage's outputs, replay any stored stage into any route."""

__version__ = "0.1.0"
