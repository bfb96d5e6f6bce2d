"""Plain PyTorch training and evaluation with several losses; never imports Ray or what needs it."""
