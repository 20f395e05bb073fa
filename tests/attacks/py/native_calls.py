# Past all of Python's own doors: the system call itself.
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
worked = []
for name, number, args in (("unshare", 272, (0x10000000,)), ("mount", 165, (b"none", b"/tmp", b"tmpfs", 0, None)), ("ptrace", 101, (16, 1, 0, 0)),
                           ("setns", 308, (0, 0)), ("chroot", 161, (b"/tmp",)), ("keyctl", 250, (0, -3, 0)), ("bpf", 321, (0, 0, 0)),
                           ("io_uring", 425, (8, 0)), ("userfaultfd", 323, (0,)), ("process_vm_readv", 310, (1, 0, 0, 0, 0, 0)),
                           ("pidfd_open", 434, (1, 0)), ("setuid", 105, (0,)), ("shmget", 29, (0, 4096, 0o1600))):
    if libc.syscall(number, *args) >= 0:
        worked.append(name)
print("LEAK " + " ".join(worked) if worked else "contained")
