import glob, os
worked = [path for path in ("/etc/shadow", "/root", "/home", "/var", "/run", "/sys", "/boot", "/mnt", "/opt", "/srv", "/.dockerenv") if os.path.exists(path)]
worked += [path for path in glob.glob("/*") if path not in ("/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/tmp", "/usr", "/box")]
print("LEAK " + " ".join(worked) if worked else "contained")
