# subprocesses get the same filter and no more
import subprocess, sys
code = "import os\ntry:\n os.open('/usr/x', os.O_CREAT | os.O_WRONLY)\n print('LEAK')\nexcept OSError:\n print('contained')"
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout, end="")
