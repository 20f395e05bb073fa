import os, threading, time
threading.Thread(target=lambda: (time.sleep(0.05), os._exit(7))).start()
while True:
    time.sleep(1)
