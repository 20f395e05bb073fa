import socket
worked = []
for family in (socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET, 38, 40):
    try:
        socket.socket(family, socket.SOCK_DGRAM)
        worked.append(str(family))
    except OSError:
        pass
for address in ("127.0.0.1", "192.0.2.1"):
    for port in (22, 53, 80, 6399):
        try:
            socket.create_connection((address, port), 0.2)
            worked.append(address)
        except OSError:
            pass
try:
    socket.getaddrinfo("example.com", 80)
    worked.append("name")
except OSError:
    pass
print("LEAK " + " ".join(worked) if worked else "contained")
