"""Manuscript and notebooks to HTML; imports no other stage."""
