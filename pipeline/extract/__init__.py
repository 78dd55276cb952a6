"""Volumes to 2D patches and 3D cubes with quality records; imports no other stage."""
