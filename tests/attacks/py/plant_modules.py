# Files that the next interpreter would load by itself.
import os, site, sys
worked = []
for folder in {*sys.path, *site.getsitepackages(), "/usr/lib/python3", "/etc", "/usr/local/lib"}:
    if folder in ("", os.getcwd()):
        continue
    for name in ("sitecustomize.py", "usercustomize.py", "x.pth"):
        try:
            open(os.path.join(folder, name), "w").write("x = 1")
            worked.append(folder)
        except OSError:
            pass
open("sitecustomize.py", "w").write("print('LEAK')")
print("LEAK " + " ".join(worked) if worked else "contained")
