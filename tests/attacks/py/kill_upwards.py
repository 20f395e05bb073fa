import os, signal
for pid in range(1, 40):
    if pid != os.getpid():
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
for sign in (signal.SIGTERM, signal.SIGSTOP):
    try:
        os.kill(os.getppid() or 1, sign)  # 0 would be this program's own group
    except OSError:
        pass
print("contained" if os.getppid() in (0, 1) else "LEAK")
