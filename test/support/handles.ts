/** File handles of the kernel (name_to_handle_at(2), open_by_handle_at(2)), as an NFS server keeps them. */
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { nodeHigh } from "../../src/cloud/ids.js";
import { ToldInodes } from "../../src/cloud/told-inodes.js";

const PROGRAM = `
import ctypes, fcntl, json, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
order, root, argument = sys.argv[1:4]
def of(path):
    buffer = ctypes.create_string_buffer(8 + 128)
    struct.pack_into('Ii', buffer, 0, 128, 0)
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(path), buffer, ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), path)
    return buffer.raw[:8 + struct.unpack_from('I', buffer)[0]].hex()
def opened(handle):
    top = os.open(root, os.O_RDONLY)
    fd = libc.open_by_handle_at(top, ctypes.create_string_buffer(bytes.fromhex(handle)), os.O_RDONLY)
    if fd < 0: return os.strerror(ctypes.get_errno())
    try:
        if os.fstat(fd).st_mode & 0o40000: return ' '.join(sorted(os.listdir(fd)))
        return os.read(fd, 100).decode()
    except OSError as error:
        return os.strerror(error.errno)
def generation(path):
    fd = os.open(path, os.O_RDONLY)
    return struct.unpack('I', fcntl.ioctl(fd, 0x80087601, bytes(8))[:4])[0]
print(json.dumps({'of': of, 'open': opened, 'generation': generation}[order](argument)))
`;

function python<T>(order: string, root: string, argument: string): T {
  const out = execFileSync("python3", ["-c", PROGRAM, order, root, argument], { encoding: "utf8" });
  return JSON.parse(out) as T;
}

/** The handle of a file, in hexadecimal. */
export function handleOf(path: string): string {
  return python("of", "/", path);
}

/** What the file of a handle has in it, or the names in the directory; or why it cannot be had. `root`: of the mount. */
export function openHandle(root: string, handle: string): string {
  return python("open", root, handle);
}

/**
 * The handle that a file would have which the guest has at `inside`, in the place whose root is shown at `place`: as one
 * makes it who knows how they are made.
 */
export function forgedHandle(place: string, inside: string): string {
  const generation = python<number>("generation", "/", inside);
  const { ino } = statSync(inside);
  const placeId = Number(statSync(place, { bigint: true }).ino >> 32n);
  const bytes = Buffer.alloc(8 + 12);
  bytes.writeUInt32LE(12, 0);
  bytes.writeInt32LE(0x81, 4);
  bytes.writeUInt32LE(nodeHigh(placeId, new ToldInodes().digest(ino, generation)), 8);
  bytes.writeUInt32LE(ino, 12);
  bytes.writeUInt32LE(generation, 16);
  return bytes.toString("hex");
}
