wanted = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
state = dict(line.split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
bad = [name for name in wanted if int(state[name], 16) != 0]
bad += [] if state["NoNewPrivs"].strip() == "1" and state["Seccomp"].strip() == "2" else ["filter"]
print("LEAK " + " ".join(bad) if bad else "contained")
