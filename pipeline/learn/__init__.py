"""From patches to predictions: data, augmentation, training loop, threshold; imports `models` and no other stage."""
