/** What libvirt's XML says of a domain and its disks (https://libvirt.org/formatdomain.html). */
import { field, list, text } from "../../capture/qmp/json.js";
import { monitorsOf } from "./libvirt-monitors.js";

/** Where a disk's bytes lie. */
export type DiskSource =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "nbd"; readonly url: string }
  | { readonly kind: "volume"; readonly pool: string; readonly volume: string }
  /** Where slashcloud cannot read it itself; why. */
  | { readonly kind: "unreadable"; readonly why: string };

export interface DomainDisk {
  /** `vda` */
  readonly target: string;
  /** Of the device in QEMU; domains that do not run have none. */
  readonly alias: string | undefined;
  /** The driver's type: it decides, whatever the disk begins with. */
  readonly format: string;
  readonly isReadOnly: boolean;
  readonly source: DiskSource;
}

export interface Domain {
  readonly uuid: string;
  readonly name: string;
  /** Another number each time that it is started; undefined: it does not run. */
  readonly id: string | undefined;
  /** Without CD-ROMs, floppies and drives that are empty; in the order of the targets. */
  readonly disks: readonly DomainDisk[];
  /** Sockets of monitors beside libvirt's own. */
  readonly monitors: readonly string[];
}

/** Reads what `virsh dumpxml` printed; undefined if it describes no domain. */
export type ReadDomain = (xml: string) => Domain | undefined;

/** Loads what it needs to read XML. */
export async function domainReader(): Promise<ReadDomain> {
  const { XMLParser } = await import("fast-xml-parser");
  const parser = new XMLParser({
    ignoreAttributes: false,
    attributeNamePrefix: "@",
    removeNSPrefix: true,
    parseTagValue: false,
    parseAttributeValue: false,
    trimValues: false,
    htmlEntities: true,
    isArray: (name: string) => name === "disk" || name === "arg" || name === "host",
  });
  return (xml) => readDomain(field(parser.parse(xml), "domain"));
}

function readDomain(domain: unknown): Domain | undefined {
  const [name, uuid] = [text(domain, "name"), text(domain, "uuid")];
  if (name === undefined || uuid === undefined) return undefined;
  const disks = list(field(field(domain, "devices"), "disk")).map(readDisk);
  const args = list(field(field(domain, "commandline"), "arg")).map((arg) => text(arg, "@value") ?? "");
  return {
    uuid,
    name,
    id: text(domain, "@id"),
    disks: disks.filter((disk) => disk !== undefined).sort(byTarget),
    monitors: monitorsOf(args),
  };
}

function readDisk(disk: unknown): DomainDisk | undefined {
  const target = text(field(disk, "target"), "@dev");
  const kind = text(disk, "@device") ?? "disk";
  if (target === undefined || (kind !== "disk" && kind !== "lun")) return undefined;
  const source = readSource(disk);
  if (source === undefined) return undefined;
  return {
    target,
    alias: text(field(disk, "alias"), "@name"),
    // libvirt never guesses one either.
    format: text(field(disk, "driver"), "@type") ?? "raw",
    isReadOnly: field(disk, "readonly") !== undefined,
    source,
  };
}

function readSource(disk: unknown): DiskSource | undefined {
  const source = field(disk, "source");
  const type = text(disk, "@type") ?? "file";
  if (source === undefined) return undefined;
  if ((field(disk, "encryption") ?? field(source, "encryption")) !== undefined)
    return { kind: "unreadable", why: "it is encrypted, and QEMU has the key" };
  if (field(source, "slices") !== undefined)
    return { kind: "unreadable", why: "it is a part of its image (a slice)" };
  switch (type) {
    case "file":
    case "block": {
      const path = text(source, type === "file" ? "@file" : "@dev");
      return path === undefined ? undefined : { kind: "path", path };
    }
    case "volume": {
      const [pool, volume] = [text(source, "@pool"), text(source, "@volume")];
      if (pool === undefined || volume === undefined) return undefined;
      return { kind: "volume", pool, volume };
    }
    case "network":
      return networkSource(source);
    default:
      return { kind: "unreadable", why: `no file or device of this host (type ${type})` };
  }
}

function networkSource(source: unknown): DiskSource {
  const protocol = text(source, "@protocol") ?? "network";
  if (protocol !== "nbd")
    return {
      kind: "unreadable",
      why: `slashcloud speaks no ${protocol}, of what lies across a network NBD alone`,
    };
  if (text(source, "@tls") === "yes") return { kind: "unreadable", why: "it is NBD with TLS" };
  const [host] = list(field(source, "host"));
  const name = (text(source, "@name") ?? "").split("/").map(encodeURIComponent).join("/");
  if (text(host, "@transport") === "unix") {
    const socket = encodeURIComponent(text(host, "@socket") ?? "").replaceAll("%2F", "/");
    return { kind: "nbd", url: `nbd+unix:///${name}?socket=${socket}` };
  }
  const address = text(host, "@name") ?? "localhost";
  const port = text(host, "@port");
  return {
    kind: "nbd",
    url: `nbd://${address.includes(":") ? `[${address}]` : address}${port === undefined ? "" : `:${port}`}/${name}`,
  };
}

/** Buses in the order in which guests number what they begin from. */
const BUSES = ["vd", "xvd", "sd", "hd"];

function byTarget(one: DomainDisk, other: DomainDisk): number {
  const [a, b] = [placeOf(one.target), placeOf(other.target)];
  return a.bus - b.bus || a.length - b.length || (one.target < other.target ? -1 : 1);
}

/** "vdaa" comes after "vdz". */
function placeOf(target: string): { bus: number; length: number } {
  const bus = BUSES.findIndex((prefix) => target.startsWith(prefix));
  return { bus: bus < 0 ? BUSES.length : bus, length: target.length };
}
