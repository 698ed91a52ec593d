/** What machine a guest's programs are for: by the ELF header of one that all have, else by its package manager. */
import type { Reader } from "../reader.js";

export interface Architecture {
  /** As `uname -m` has it. */
  readonly name: string;
  readonly bits: 32 | 64 | undefined;
  readonly endian: "little" | "big" | undefined;
  /** The file that says so. */
  readonly source: string;
}

const PROGRAMS = [
  "/bin/sh",
  "/usr/bin/sh",
  "/bin/busybox",
  "/bin/bash",
  "/sbin/init",
  "/usr/lib/systemd/systemd",
  "/lib/systemd/systemd",
  "/usr/bin/true",
];
/** Files in which package managers keep their own name of it, in the first line. */
const MANAGERS = ["/etc/apk/arch", "/var/lib/dpkg/arch"];

/** By e_machine; see elf(5) and linux/elf-em.h. */
const MACHINES: Readonly<
  Record<number, string | readonly [little32: string, big32: string, little64: string, big64: string]>
> = {
  2: "sparc",
  3: "i686",
  4: "m68k",
  8: ["mipsel", "mips", "mips64el", "mips64"],
  15: ["parisc", "parisc", "parisc64", "parisc64"],
  18: "sparc",
  20: ["ppcle", "ppc", "ppc64le", "ppc64"],
  21: ["ppcle", "ppc", "ppc64le", "ppc64"],
  22: ["s390", "s390", "s390x", "s390x"],
  40: "arm",
  42: "sh4",
  43: "sparc64",
  50: "ia64",
  62: "x86_64",
  183: "aarch64",
  243: ["riscv32", "riscv32", "riscv64", "riscv64"],
  258: ["loongarch32", "loongarch32", "loongarch64", "loongarch64"],
  36902: "alpha",
};
const HEADER = 20;
const MAGIC = Buffer.from("\x7fELF", "latin1");

/** Undefined if nothing tells. Throws what the last that could have told could not be read for. */
export async function architecture(reader: Reader): Promise<Architecture | undefined> {
  let trouble: unknown;
  for (const source of PROGRAMS) {
    try {
      const header = await reader.head(source, HEADER);
      const told = header && byHeader(header, source);
      if (told !== undefined) return told;
    } catch (error) {
      trouble ??= error;
    }
  }
  for (const source of MANAGERS) {
    const name = (await reader.text(source))?.split("\n", 1)[0]?.trim();
    if (name) return { name, bits: undefined, endian: undefined, source };
  }
  if (trouble !== undefined) throw trouble;
  return undefined;
}

function byHeader(header: Buffer, source: string): Architecture | undefined {
  if (header.length < HEADER || !header.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const [bits, endian] = [header[4] === 2 ? 64 : 32, header[5] === 2 ? "big" : "little"] as const;
  const machine = endian === "big" ? header.readUInt16BE(18) : header.readUInt16LE(18);
  const known = MACHINES[machine];
  const name = typeof known === "object" ? known[(bits === 64 ? 2 : 0) + (endian === "big" ? 1 : 0)] : known;
  return { name: name ?? `ELF machine ${machine}`, bits, endian, source };
}
