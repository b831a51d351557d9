"""Who may be in device memory: one owner, one pure decision, and what a batch needs beside the weights."""
