"""The calibration set: texts, label sets and recordings of our own, which proofs compare precisions by."""
