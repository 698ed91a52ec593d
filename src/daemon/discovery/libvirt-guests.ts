/** From libvirt's domains to guests: which images are read, which QEMU is attached to, and why something is not shown. */
import { formatByName } from "../../images/formats.js";
import { isRemote } from "../../images/remote.js";
import type { Domain, DomainDisk } from "./libvirt-domain.js";
import { namesOf } from "./libvirt-names.js";
import type { LibvirtSettings } from "./libvirt-settings.js";
import type { FoundGuest } from "./source.js";

/** Where a volume of a pool lies; what is no path is why it has none. */
export type VolumePath = (pool: string, volume: string) => { path: string } | { why: string };

type AttachSettings = Pick<LibvirtSettings, "attach" | "capture">;

/** Guests for all domains, by name. */
export function guestsOf(
  domains: readonly Domain[],
  settings: AttachSettings,
  volumePath: VolumePath,
): FoundGuest[] {
  const names = namesOf(domains);
  return domains
    .map((domain) => guestOf(domain, names.get(domain.uuid) as string, settings, volumePath))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

function guestOf(
  domain: Domain,
  name: string,
  { attach, capture }: AttachSettings,
  volumePath: VolumePath,
): FoundGuest {
  const { disks, id, monitors } = domain;
  if (disks.length === 0) return { name, images: [], reason: "the domain has no disk" };
  const isRunning = id !== undefined;
  const images: string[] = [];
  let reason: string | undefined;
  for (const disk of disks) {
    const found = imageOf(disk, isRunning, volumePath);
    if ("why" in found) {
      // The next one must not be taken for this one: a guest's disks are counted.
      reason = `${disk.target}: ${found.why}`;
      break;
    }
    images.push(found.image);
  }
  const aliases = disks.map(({ alias }) => alias).filter((alias) => alias !== undefined);
  const [qmp] = monitors;
  const isWanted = attach === "always" || (attach === "auto" && reason !== undefined);
  if (isRunning && isWanted && qmp !== undefined && aliases.length > 0)
    return { name, images: [], qmp, disks: aliases, ...(capture !== "mirror" && { capture }) };
  if (reason === undefined) return { name, images };
  return { name, images, reason: isRunning ? `${reason}; ${advice(domain, attach)}` : reason };
}

/** What can be done about a disk that only its QEMU can read. */
function advice({ name, monitors }: Domain, attach: LibvirtSettings["attach"]): string {
  if (attach === "never") return "slashcloud is told to attach to no domain (discover.libvirt.attach)";
  if (monitors.length === 0)
    return `give it a second monitor (virsh edit ${name}; docs/libvirt.md says what to add), and slashcloud attaches to it`;
  return "libvirt tells no names of its devices, so slashcloud cannot attach to it";
}

function imageOf(
  { format, isReadOnly, source }: DomainDisk,
  isRunning: boolean,
  volumePath: VolumePath,
): { image: string } | { why: string } {
  if (source.kind === "unreadable") return { why: source.why };
  if (source.kind === "nbd")
    return format === "raw" ? { image: source.url } : { why: `it is a ${format} disk by way of NBD` };
  const found = source.kind === "path" ? source : volumePath(source.pool, source.volume);
  if ("why" in found) return found;
  if (!found.path.startsWith("/")) return { why: `${found.path} is no file or device of this host` };
  if (format === "raw") return { image: `raw:${found.path}` };
  if (formatByName(format) !== format) return { why: `slashcloud reads no ${format} disks` };
  if (isRunning && !isReadOnly)
    return {
      why: `${found.path} is a ${format} disk that a running QEMU changes, and it cannot be read past it`,
    };
  if (isRemote(found.path))
    return {
      why: `${found.path} is a ${format} disk on storage that other hosts may use: while it was shown, its QEMU could not start`,
    };
  return { image: `${format}:${found.path}` };
}
