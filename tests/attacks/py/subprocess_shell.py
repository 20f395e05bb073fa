import subprocess
text = subprocess.run("id -u; cat /etc/shadow; ls /root; mount -t tmpfs none /tmp; unshare -U true; kill -9 1", shell=True, capture_output=True, text=True).stdout
print("contained" if text.strip() == "1000" else "LEAK " + text)
