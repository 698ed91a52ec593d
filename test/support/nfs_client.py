"""A client of NFS 4 that keeps files open, by libnfs (libnfs13): a command a line on standard input, JSON an answer.

    nfs_client.py HOST PORT EXPORT UID

Commands are JSON: ["open", PATH], ["read", HANDLE, OFFSET, LENGTH], ["fstat", HANDLE], ["close", HANDLE], ["stat", PATH],
["list", PATH], ["cat", PATH], ["readlink", PATH], ["hashes", PATH]. Paths and names are Latin-1 for bytes. An answer is
{"ok": ...} or {"error": ERRNO, "text": ...}.

Of a server that was restarted, libnfs does not claim its open files again, as the kernel's client does. So there is also
["handle", PATH], which gives the file's handle, and ["read-handle", HANDLE, OFFSET, LENGTH], which reads by it over a new
connection, without an open (RFC 7530, 9.1.4.3: the anonymous stateid); and ["up", PATH, N], the names that are N parents
up from there, which libnfs does not ask for. ["create", PATH] tries to make a file.
"""
import ctypes
import errno
import hashlib
import json
import socket
import stat
import struct
import sys

lib = ctypes.CDLL("libnfs.so.13")
P, S = ctypes.c_void_p, ctypes.c_char_p


def declare(name, result, *arguments):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments
    return function


class Stat64(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "dev ino mode nlink uid gid rdev size blksize blocks atime mtime ctime atime_nsec mtime_nsec ctime_nsec used".split())]


class Dirent(ctypes.Structure):
    pass


# The head of struct nfsdirent; what follows is not used.
Dirent._fields_ = [("next", ctypes.POINTER(Dirent)), ("name", S), ("inode", ctypes.c_uint64), ("type", ctypes.c_uint32),
                   ("mode", ctypes.c_uint32), ("size", ctypes.c_uint64)]

init = declare("nfs_init_context", P)
get_error = declare("nfs_get_error", S, P)
parse = declare("nfs_parse_url_dir", P, P, S)
mount = declare("nfs_mount", ctypes.c_int, P, S, S)
nfs_open = declare("nfs_open", ctypes.c_int, P, S, ctypes.c_int, ctypes.POINTER(P))
creat = declare("nfs_creat", ctypes.c_int, P, S, ctypes.c_int, ctypes.POINTER(P))
close = declare("nfs_close", ctypes.c_int, P, P)
pread = declare("nfs_pread", ctypes.c_int, P, P, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_char_p)
fstat64 = declare("nfs_fstat64", ctypes.c_int, P, P, ctypes.POINTER(Stat64))
lstat64 = declare("nfs_lstat64", ctypes.c_int, P, S, ctypes.POINTER(Stat64))
readlink = declare("nfs_readlink", ctypes.c_int, P, S, ctypes.c_char_p, ctypes.c_int)
opendir = declare("nfs_opendir", ctypes.c_int, P, S, ctypes.POINTER(P))
readdir = declare("nfs_readdir", ctypes.POINTER(Dirent), P, P)
closedir = declare("nfs_closedir", None, P, P)

CHUNK = 1 << 16


class NfsError(Exception):
    def __init__(self, number, text):
        super().__init__(text)
        self.number = number


def checked(result):
    if result < 0:
        raise NfsError(-result, (get_error(nfs) or b"").decode("latin1"))
    return result


def start(host, port, export, uid):
    global nfs
    nfs = init()
    url = "nfs://%s%s?version=4&nfsport=%s&uid=%s&gid=%s" % (host, export, port, uid, uid)
    if not parse(nfs, url.encode()):
        raise NfsError(errno.EINVAL, (get_error(nfs) or b"").decode("latin1"))
    checked(mount(nfs, host.encode(), export.encode()))


handles = {}


def open_file(path):
    handle = P()
    checked(nfs_open(nfs, path, 0, ctypes.byref(handle)))
    return handle


def read(handle, offset, length):
    # A reader that asked for less than it is given by some versions of the library would be written past its end.
    buffer = ctypes.create_string_buffer(length + CHUNK)
    count = checked(pread(nfs, handle, offset, length, buffer))
    return buffer.raw[:count]


def contents(path):
    handle = open_file(path)
    try:
        data = b""
        while True:
            chunk = read(handle, len(data), CHUNK)
            data += chunk
            if not chunk:
                return data
    finally:
        close(nfs, handle)


def names(path):
    directory = P()
    checked(opendir(nfs, path, ctypes.byref(directory)))
    found = []
    while entry := readdir(nfs, directory):
        if entry.contents.name not in (b".", b".."):
            found.append((entry.contents.name, entry.contents.mode))
    closedir(nfs, directory)
    return found


def told(path):
    found = Stat64()
    checked(lstat64(nfs, path, ctypes.byref(found)))
    return found


def hashes(path):
    """SHA-256 of each file below, the target of each link, by path; other files by what they are."""
    found = {}
    for name, _ in names(path):
        below = path + b"/" + name
        key = below.decode("latin1")
        mode = told(below).mode
        if stat.S_ISDIR(mode):
            found.update(hashes(below))
        elif stat.S_ISREG(mode):
            found[key] = hashlib.sha256(contents(below)).hexdigest()
        elif stat.S_ISLNK(mode):
            found[key] = "-> " + target(below).decode("latin1")
        else:
            found[key] = oct(stat.S_IFMT(mode))
    return found


def target(path):
    buffer = ctypes.create_string_buffer(CHUNK)
    checked(readlink(nfs, path, buffer, CHUNK))
    # libnfs takes the text for one that ends with a zero byte, which NFS does not send.
    return buffer.raw[: told(path).size]


# NFS 4.0's operations (RFC 7530, 16) and RPC (RFC 5531), as far as they are needed.
GETFH, LOOKUP, LOOKUPP, PUTFH, PUTROOTFH, READ, READDIR = 10, 15, 16, 22, 24, 25, 26


def opaque(data):
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def compound(operations):
    """Sends one COMPOUND as root; returns what follows its status, tag and count of results. Raises NfsError."""
    credentials = struct.pack(">I", 0) + opaque(b"test") + struct.pack(">IIII", 0, 0, 1, 0)
    call = struct.pack(">IIIIII", 1, 0, 2, 100003, 4, 1) + struct.pack(">I", 1) + opaque(credentials)
    call += struct.pack(">II", 0, 0) + opaque(b"") + struct.pack(">II", 0, len(operations)) + b"".join(operations)
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as connection:
        connection.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        stream = connection.makefile("rb")
        reply = b""
        while True:
            (mark,) = struct.unpack(">I", stream.read(4))
            reply += stream.read(mark & 0x7FFFFFFF)
            if mark & 0x80000000:
                break
    # xid, reply, accepted, verifier (2), success, status, tag's length, results
    status = struct.unpack_from(">I", reply, 24)[0]
    if status != 0:
        raise NfsError(status, "NFS status %d" % status)
    return reply[36:]


def way_to(path):
    names = (sys.argv[3].encode() + path).strip(b"/").split(b"/")
    return [struct.pack(">I", PUTROOTFH), *(struct.pack(">I", LOOKUP) + opaque(name) for name in names)]


def names_above(path, times):
    operations = [*way_to(path), *[struct.pack(">I", LOOKUPP)] * times]
    listing = struct.pack(">IQQIII", READDIR, 0, 0, 8192, 8192, 0)
    rest = compound([*operations, listing])[8 * len(operations) + 16 :]
    found = []
    # Entries, each with a cookie, its name, and no attributes.
    while struct.unpack_from(">I", rest)[0]:
        (length,) = struct.unpack_from(">I", rest, 12)
        found.append(rest[16 : 16 + length].decode("latin1"))
        rest = rest[16 + length + -length % 4 :]
        (words,) = struct.unpack_from(">I", rest)
        rest = rest[4 + 4 * words :]
        rest = rest[4 + struct.unpack_from(">I", rest)[0] :]
    return found


def handle_of(path):
    operations = way_to(path)
    # Each result before has an operation and a status.
    results = compound([*operations, struct.pack(">I", GETFH)])[8 * len(operations) + 8 :]
    return results[4 : 4 + struct.unpack_from(">I", results)[0]].hex()


def read_handle(handle, offset, length):
    read = struct.pack(">I", READ) + bytes(16) + struct.pack(">QI", offset, length)
    # After the two operations and their statuses: end of file, length, data.
    results = compound([struct.pack(">I", PUTFH) + opaque(bytes.fromhex(handle)), read])[16:]
    return results[8 : 8 + struct.unpack_from(">I", results, 4)[0]]


def fields(found):
    return {"ino": str(found.ino), "size": found.size, "mode": found.mode, "uid": found.uid, "mtime": found.mtime}


def answer(command, *rest):
    if command == "open":
        number = len(handles)
        handles[number] = open_file(rest[0].encode("latin1"))
        return number
    if command == "read":
        return read(handles[rest[0]], rest[1], rest[2]).decode("latin1")
    if command == "fstat":
        found = Stat64()
        checked(fstat64(nfs, handles[rest[0]], ctypes.byref(found)))
        return fields(found)
    if command == "close":
        return checked(close(nfs, handles.pop(rest[0])))
    if command == "read-handle":
        return read_handle(*rest).decode("latin1")
    path = rest[0].encode("latin1")
    if command == "up":
        return names_above(path, rest[1])
    if command == "create":
        handle = P()
        return checked(creat(nfs, path, 0o600, ctypes.byref(handle)))
    if command == "handle":
        return handle_of(path)
    if command == "stat":
        return fields(told(path))
    if command == "list":
        return sorted(name.decode("latin1") for name, _ in names(path))
    if command == "cat":
        return contents(path).decode("latin1")
    if command == "readlink":
        return target(path).decode("latin1")
    if command == "hashes":
        return hashes(path)
    raise ValueError(command)


def attempt(function, *arguments):
    try:
        return {"ok": function(*arguments)}
    except NfsError as error:
        return {"error": error.number, "text": str(error)}


print(json.dumps(attempt(start, *sys.argv[1:])), flush=True)
for line in sys.stdin:
    print(json.dumps(attempt(answer, *json.loads(line))), flush=True)
