# What the zygote had loaded is still mapped: is any of it a way out?
import ctypes, gc, sys
worked = []
for item in gc.get_objects():
    if isinstance(item, ctypes.CDLL) and hasattr(item, "zygote_serve"):
        try:
            if item.zygote_serve(3, 5, 8, None, None, None) == 0:
                worked.append("serve")
        except (OSError, AttributeError):
            pass
worked += [] if sys.argv == ["main.py"] or sys.argv[0].endswith(".py") else ["arguments"]
print("LEAK " + " ".join(worked) if worked else "contained")
