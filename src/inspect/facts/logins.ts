/** When users last logged in to a guest: the records of wtmp(5) and lastlog(8). */
import type { Reader } from "../reader.js";
import type { Architecture } from "./architecture.js";
import type { User } from "./users.js";

export interface Login {
  readonly user: string;
  /** ISO 8601, UTC. */
  readonly time: string;
  /** The terminal. */
  readonly line: string;
  /** Where from; "" if it was at the machine itself, or is not told. */
  readonly host: string;
}

const WTMP = "/var/log/wtmp";
const LASTLOG = "/var/log/lastlog";
/** Where systems without these keep them. */
const NOT_READ = ["/var/lib/wtmpdb/wtmp.db", "/var/lib/lastlog/lastlog2.db"];
/** Bytes of wtmp that are read, those at its end. */
const MOST_WTMP = 8 << 20;
const MOST_LOGINS = 1000;
const USER_PROCESS = 7;
const LINE_LENGTH = 32;
const HOST_LENGTH = 256;

/** Where glibc has the fields of a struct utmp, and the size of a lastlog's time: they differ by architecture. */
interface Layout {
  readonly utmpSize: number;
  /** Of ut_tv.tv_sec. */
  readonly secondsAt: number;
  /** Bytes of a time. */
  readonly timeLength: 4 | 8;
  readonly isBig: boolean;
}

/** Of 64-bit architectures most have the times of their 32-bit relatives here; these two have none. */
const WIDE_TIMES = new Set(["aarch64", "loongarch64"]);

function layoutOf(architecture: Architecture | undefined): Layout {
  const isBig = architecture?.endian === "big";
  return WIDE_TIMES.has(architecture?.name ?? "")
    ? { utmpSize: 400, secondsAt: 344, timeLength: 8, isBig }
    : { utmpSize: 384, secondsAt: 340, timeLength: 4, isBig };
}

/**
 * The last login of each user, the latest first; undefined if there are no records. `users`: whose entries of lastlog, which
 * has one for each number, are looked at. Throws what GuestFiles throws.
 */
export async function logins(
  reader: Reader,
  architecture: Architecture | undefined,
  users: readonly User[],
): Promise<Login[] | undefined> {
  const layout = layoutOf(architecture);
  const sources = [await byWtmp(reader, layout), await byLastlog(reader, layout, users)];
  if (sources.every((source) => source === undefined)) {
    for (const path of NOT_READ)
      if ((await reader.head(path, 0)) !== undefined)
        throw new Error(`they are in ${path}, which is not read`);
    return undefined;
  }
  const last = new Map<string, Login>();
  for (const login of sources.flatMap((source) => source ?? [])) {
    const known = last.get(login.user);
    if (known === undefined || known.time < login.time) last.set(login.user, login);
  }
  return [...last.values()].sort((a, b) => (a.time < b.time ? 1 : -1)).slice(0, MOST_LOGINS);
}

async function byWtmp(
  reader: Reader,
  { utmpSize, secondsAt, timeLength, isBig }: Layout,
): Promise<Login[] | undefined> {
  return reader.withFile(WTMP, ({ size, read }) => {
    const whole = Math.floor(size / utmpSize);
    const count = Math.min(whole, Math.floor(MOST_WTMP / utmpSize));
    const bytes = read((whole - count) * utmpSize, count * utmpSize);
    const found = new Map<string, Login>();
    for (let at = 0; at + utmpSize <= bytes.length; at += utmpSize) {
      const type = isBig ? bytes.readInt16BE(at) : bytes.readInt16LE(at);
      if (type !== USER_PROCESS) continue;
      const line = text(bytes, at + 8, LINE_LENGTH);
      const user = text(bytes, at + 44, 32);
      const time = timeText(bytes, at + secondsAt, timeLength, isBig);
      if (user !== "" && time !== undefined)
        found.set(user, { user, time, line, host: text(bytes, at + 76, HOST_LENGTH) });
    }
    return [...found.values()];
  });
}

async function byLastlog(
  reader: Reader,
  { timeLength, isBig }: Layout,
  users: readonly User[],
): Promise<Login[] | undefined> {
  const length = timeLength + LINE_LENGTH + HOST_LENGTH;
  return reader.withFile(LASTLOG, ({ size, read }) => {
    const found: Login[] = [];
    for (const { name, uid } of users) {
      // The file is as long as the greatest number needs, and mostly holes.
      if (uid * length + length > size) continue;
      const bytes = read(uid * length, length);
      if (bytes.length < length) continue;
      const time = timeText(bytes, 0, timeLength, isBig);
      if (time === undefined) continue;
      const line = text(bytes, timeLength, LINE_LENGTH);
      found.push({ user: name, time, line, host: text(bytes, timeLength + LINE_LENGTH, HOST_LENGTH) });
    }
    return found;
  });
}

/** Undefined: never, or no time. Both lengths are told of as unsigned 32 bits, which do until 2106. */
function timeText(bytes: Buffer, at: number, length: 4 | 8, isBig: boolean): string | undefined {
  const low = isBig ? bytes.readUInt32BE(at + length - 4) : bytes.readUInt32LE(at);
  const high = length === 4 ? 0 : isBig ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at + 4);
  if (high !== 0 || low === 0) return undefined;
  return new Date(low * 1000).toISOString().replace(".000Z", "Z");
}

/** A text that ends at its first NUL, or fills its field. */
function text(bytes: Buffer, at: number, length: number): string {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? length : end);
}
