import os
extra = set(os.environ) - {"PATH", "HOME", "LANG", "TMPDIR", "LC_CTYPE", "PWD"}
print("LEAK " + " ".join(sorted(extra)) if extra else "contained")
