# A string that see_secret.py looks for in its own memory.
secret = "SECRET-" + "OF-ANOTHER-RUN-93417"
keep = [secret * 100 for _ in range(100)]
print("contained")
