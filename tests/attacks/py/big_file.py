written = 0
try:
    with open("big", "wb", 0) as file:
        while written < 1 << 30:
            written += file.write(b"x" * (1 << 20))
except OSError:
    pass
print("LEAK" if written > 32 << 20 else "contained")
