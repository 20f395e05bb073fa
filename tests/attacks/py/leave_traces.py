# What one run does to its interpreter and its folders must not reach the next one (see_traces.py).
import builtins, json, os, sys, random
for path in ("trace", "/tmp/trace", "/dev/shm/trace"):
    open(path, "w").write("here")
builtins.weir_trace = True
json.loads = lambda text: "traced"
sys.modules["weir_trace"] = sys
os.environ["WEIR_TRACE"] = "1"
sys.path.append("/trace")
random.seed(1)
print("contained")
