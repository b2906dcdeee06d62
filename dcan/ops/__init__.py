"""Arrays in, arrays out: nothing here opens a file, logs, or knows a configuration."""
