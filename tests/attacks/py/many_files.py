made = 0
try:
    for made in range(10000):
        open("n%d" % made, "w").close()
except OSError:
    pass
print("LEAK %d" % made if made > 2048 else "contained")
