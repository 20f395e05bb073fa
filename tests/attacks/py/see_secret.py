import gc
needle = b"SECRET-" + b"OF-ANOTHER-RUN-93417"
found = sum(isinstance(item, str) and "ANOTHER-RUN" in item and len(item) > 1000 for item in gc.get_objects())
for line in open("/proc/self/maps"):
    if " rw" not in line:
        continue
    first, last = (int(part, 16) for part in line.split()[0].split("-"))
    try:
        with open("/proc/self/mem", "rb", 0) as memory:
            memory.seek(first)
            block = memory.read(min(last - first, 1 << 24))
    except OSError:
        continue
    at = block.find(needle)
    while at >= 0:
        found += block[at + len(needle):at + len(needle) + 7] == needle[:7]  # the secret stands many times in a row
        at = block.find(needle, at + 1)
print("LEAK" if found else "contained")
