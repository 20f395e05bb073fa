import atexit
atexit.register(lambda: print("at the end"))
raise ValueError("on purpose")
