"""Neuron class from connectivity, without pixels: features, folds, models, fusion with EM; imports no other stage."""
