"""The data sets, one class a file, and the readers of the formats they come in.

A data set's settings are its constructor's keywords; its `task` is known without loading, and
`load(root)` returns a `Source`: training and test examples as the publisher split them, in natural
units, with the class names. Nothing is downloaded and nothing is written. `trainables.core.splits`
cuts a validation part from the training examples; the test examples pass through untouched, but
for a choice of classes.
"""
