import sys
sys.setrecursionlimit(10 ** 9)
def deeper(n):
    return [deeper(n + 1), sorted([1, 2], key=lambda x: deeper(n + 1))]
deeper(0)
