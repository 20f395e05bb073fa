import os
pids = [name for name in os.listdir("/proc") if name.isdigit()]
print("LEAK " + " ".join(pids) if len(pids) > 2 or max(map(int, pids)) > 20 else "contained")
