"""Speed, memory and scaling, measured: nothing here is a test."""
