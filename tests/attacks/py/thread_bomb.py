import threading, time
made = 0
try:
    while made < 200:
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
        made += 1
except RuntimeError:
    pass
print("LEAK %d" % made if made >= 32 else "contained", flush=True)
import os
os._exit(0)
