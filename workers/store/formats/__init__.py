"""Reading any source format, and writing the store's: safetensors with what transformers needs beside."""
