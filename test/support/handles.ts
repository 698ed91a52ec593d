/** File handles of the kernel (name_to_handle_at(2), open_by_handle_at(2)), as an NFS server keeps them. */
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { nodeHigh } from "../../src/cloud/ids.js";
import { ToldInodes } from "../../src/cloud/told-inodes.js";

const PROGRAM = `
import ctypes, fcntl, json, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
order, root, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
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
print(json.dumps([{'of': of, 'open': opened, 'generation': generation}[order](one) for one in arguments]))
`;

function python<T>(order: string, root: string, all: readonly string[]): T[] {
  const out = execFileSync("python3", ["-c", PROGRAM, order, root, ...all], { encoding: "utf8" });
  return JSON.parse(out) as T[];
}

/** The handles of files, in hexadecimal. */
export function handlesOf(paths: readonly string[]): string[] {
  return python("of", "/", paths);
}

/** What the files of handles have in them, or the names in directories; or why that cannot be had. `root`: of the mount. */
export function openHandles(root: string, handles: readonly string[]): string[] {
  return python("open", root, handles);
}

/**
 * The handles that files would have which the guest has at `inside`, in the place whose root is shown at `place`: as one
 * makes them who knows how they are made.
 */
export function forgedHandles(place: string, inside: readonly string[]): string[] {
  const generations = python<number>("generation", "/", inside);
  const placeId = Number(statSync(place, { bigint: true }).ino >> 32n);
  return inside.map((path, index) => {
    const generation = generations[index] as number;
    const { ino } = statSync(path);
    const bytes = Buffer.alloc(8 + 12);
    bytes.writeUInt32LE(12, 0);
    bytes.writeInt32LE(0x81, 4);
    bytes.writeUInt32LE(nodeHigh(placeId, new ToldInodes().digest(ino, generation)), 8);
    bytes.writeUInt32LE(ino, 12);
    bytes.writeUInt32LE(generation, 16);
    return bytes.toString("hex");
  });
}
