kept = []
try:
    while True:
        kept.append(bytearray(1 << 20))
        for i in range(0, 1 << 20, 4096):
            kept[-1][i] = 1
except MemoryError:
    kept.clear()
    print("contained")
