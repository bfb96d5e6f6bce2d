"""Optimizers: `optimizer(parameters) -> torch.optim.Optimizer`, torch's own, settings checked."""
