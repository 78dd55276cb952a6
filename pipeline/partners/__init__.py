"""Which two neurons a synaptic cleft joins: networks, assignment, cleft detection and the edges of the graph."""
