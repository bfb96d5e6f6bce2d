"""Views that need no model: `augmentation(x, y, draws) -> (x, y)`, batched, on the device of x."""
