import builtins, json, os, sys
found = [path for path in ("trace", "/tmp/trace", "/dev/shm/trace") if os.path.exists(path)]
found += ["builtin"] if hasattr(builtins, "weir_trace") else []
found += ["json"] if json.loads("[1]") != [1] else []
found += ["module"] if "weir_trace" in sys.modules else []
found += ["environment"] if "WEIR_TRACE" in os.environ else []
found += ["path"] if "/trace" in sys.path else []
print("LEAK " + " ".join(found) if found else "contained")
