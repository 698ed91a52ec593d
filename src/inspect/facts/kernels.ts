/** The kernels that are installed in a guest; which of them runs is not on its disk. */
import type { Reader } from "../reader.js";

export interface Kernel {
  readonly version: string;
  /** The kernel itself; "" if there are its modules alone. */
  readonly image: string;
  /** The directory of its modules; "" if there is none. */
  readonly modules: string;
}

const IMAGE = /^(?:vmlinu[xz]|kernel|bzImage|Image)-(\d.*)$/;
/** Alpine and Arch name kernels by their flavour: the version is that of the modules. */
const UNVERSIONED = /^vmlinuz-(?!\d)[\w.-]+$/;
const MODULES = ["/lib/modules", "/usr/lib/modules"];
const MOST = 200;

/** In the order of versions. Throws what GuestFiles throws. */
export async function kernels(reader: Reader): Promise<Kernel[]> {
  const found = new Map<string, { image: string; modules: string }>();
  const of = (version: string): { image: string; modules: string } => {
    const kernel = found.get(version) ?? { image: "", modules: "" };
    if (found.size < MOST) found.set(version, kernel);
    return kernel;
  };
  const boot = reader.list("/boot") ?? [];
  for (const name of boot) {
    const version = IMAGE.exec(name)?.[1];
    // Debian keeps what it replaces beside it.
    if (version !== undefined && !/\.(old|bak|hmac|sig)$/.test(version)) of(version).image = `/boot/${name}`;
  }
  for (const directory of MODULES) {
    for (const version of reader.list(directory) ?? []) {
      if (!/^\d/.test(version)) continue;
      const kernel = of(version);
      kernel.modules ||= `${directory}/${version}`;
      // Fedora and Arch keep a copy there.
      const copy = `${directory}/${version}/vmlinuz`;
      if (kernel.image === "" && (await isThere(reader, copy))) kernel.image = copy;
    }
  }
  const flavours = boot.filter((name) => UNVERSIONED.test(name));
  const [only] = [...found.values()];
  if (found.size === 1 && only?.image === "" && flavours.length === 1) only.image = `/boot/${flavours[0]}`;
  return [...found]
    .map(([version, kernel]) => ({ version, ...kernel }))
    .sort((a, b) => a.version.localeCompare(b.version, "en", { numeric: true }));
}

async function isThere(reader: Reader, path: string): Promise<boolean> {
  try {
    return (await reader.head(path, 0)) !== undefined;
  } catch {
    return false;
  }
}
