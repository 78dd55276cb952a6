"""Clustered statistics on predictions; imports no other stage."""
