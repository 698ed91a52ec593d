/** What libvirt has: its domains, and where volumes of its pools lie. */
import { randomBytes } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { Log } from "../../images/image.js";
import { type Domain, domainReader, type ReadDomain } from "./libvirt-domain.js";
import type { Virsh } from "./virsh.js";

/** Domains that are asked for in one call: an argument has at most 128 KiB. */
const AT_ONCE = 500;
/** ms for which a volume's path is believed. */
const PATH_AGE = 60_000;
/** What virsh says when libvirt is not there any more, which tells nothing of a volume. */
const NOT_ASKED = /has not answered|failed to connect|Disconnected|End of file|client socket is closed/;

interface Described {
  readonly xml: string;
  readonly domain: Domain;
}

interface Located {
  readonly at: number;
  readonly place: { readonly path: string } | { readonly why: string };
}

export class LibvirtInventory {
  readonly #virsh: Virsh;
  readonly #log: Log;
  #read: ReadDomain | undefined;
  /** By UUID. */
  #known = new Map<string, Described>();
  #unreadable = new Set<string>();
  readonly #volumes = new Map<string, Located>();

  constructor(virsh: Virsh, log: Log) {
    this.#virsh = virsh;
    this.#log = log;
  }

  /** All domains as they are now. Throws an error of one line when libvirt cannot be asked. */
  async domains(): Promise<readonly Domain[]> {
    this.#read ??= await domainReader();
    const uuids = (await this.#ask(["list", "--all", "--uuid"])).split(/\s+/).filter((word) => word !== "");
    const known = new Map<string, Described>();
    for (let i = 0; i < uuids.length; i += AT_ONCE)
      await this.#describe(uuids.slice(i, i + AT_ONCE), this.#read, known);
    this.#known = known;
    const domains = [...known.values()].map(({ domain }) => domain);
    for (const { disks } of domains)
      for (const { source } of disks)
        if (source.kind === "volume") await this.#locate(source.pool, source.volume);
    return domains;
  }

  /** Where a volume of a domain's lies. */
  volumePath(pool: string, volume: string): Located["place"] {
    return (
      this.#volumes.get(keyOf(pool, volume))?.place ?? { why: `volume ${volume} has not been looked for` }
    );
  }

  /** One of which libvirt says nothing just now stays as it was. */
  async #describe(uuids: readonly string[], read: ReadDomain, into: Map<string, Described>): Promise<void> {
    // A word that nobody can have written into a domain's description.
    const mark = randomBytes(16).toString("hex");
    const commands = uuids.map((uuid) => `dumpxml ${uuid}; echo ${mark}`).join("; ");
    const { printed, problem } = await this.#virsh.ask([commands]);
    const parts = printed.split(mark).slice(0, -1);
    if (parts.length === 0 && problem !== undefined) throw new Error(problem);
    for (const [i, uuid] of uuids.entries()) {
      const xml = parts[i]?.trim() ?? "";
      const former = this.#known.get(uuid);
      if (xml === "" || xml === former?.xml) {
        if (former !== undefined) into.set(uuid, former);
        continue;
      }
      // There may be many, and others wait.
      await setImmediate();
      const domain = this.#parse(xml, read);
      if (domain !== undefined) into.set(uuid, { xml, domain });
      else if (former !== undefined) into.set(uuid, former);
      if (domain === undefined && !this.#unreadable.has(uuid))
        this.#log(`domain ${uuid}: what libvirt says of it cannot be read: it is left as it was`);
      if (domain === undefined) this.#unreadable.add(uuid);
      else this.#unreadable.delete(uuid);
    }
  }

  #parse(xml: string, read: ReadDomain): Domain | undefined {
    try {
      return read(xml);
    } catch {
      return undefined;
    }
  }

  async #locate(pool: string, volume: string): Promise<void> {
    const key = keyOf(pool, volume);
    const former = this.#volumes.get(key);
    const now = performance.now();
    if (former !== undefined && "path" in former.place && now - former.at < PATH_AGE) return;
    const { printed, problem } = await this.#virsh.ask(["vol-path", "--pool", pool, "--vol", volume]);
    if (problem !== undefined && NOT_ASKED.test(problem)) throw new Error(problem);
    const place =
      problem === undefined
        ? { path: printed.replace(/\n+$/, "") }
        : { why: `volume ${volume} of the pool ${pool} is not there (${problem})` };
    this.#volumes.set(key, { at: now, place });
  }

  async #ask(args: readonly string[]): Promise<string> {
    const { printed, problem } = await this.#virsh.ask(args);
    if (problem !== undefined) throw new Error(problem);
    return printed;
  }
}

function keyOf(pool: string, volume: string): string {
  return `${pool}\0${volume}`;
}
