/** What each guest is read from: whether its images are there, in which form, and whether they could be opened. */
import type { Log } from "../../images/image.js";
import { isNbdUrl } from "../../images/nbd/url.js";
import { ConvertedDisks } from "../converted-disks.js";
import { type GuestSpec, guestOf } from "../guest-name.js";
import type { GuestProblem, OpenedGuests } from "../guest-problem.js";
import { parseImage } from "../image-name.js";
import { ImageLooks } from "./image-looks.js";
import type { WantedGuest } from "./merge.js";
import type { QmpGuests } from "./qmp-guests.js";
import { type TroubleKind, Troubles } from "./troubles.js";

/** A guest that can be tried to be shown. */
export interface Readable {
  readonly spec: GuestSpec;
  /** Another one when it is to be opened afresh. */
  readonly key: string;
  /** What its images were. */
  readonly signature: string;
  /** Keys of its disks that others read for it. */
  readonly converted: readonly string[];
}

type Wanted = ReadonlyMap<string, WantedGuest>;

const NOTHING_THERE = "there is no partition table and no file system on its disks (yet)";

export class GuestDisks {
  readonly looks = new ImageLooks();
  readonly #log: Log;
  readonly #converted: ConvertedDisks;
  /** Guests that are left out, and those that have nothing on their disks. */
  readonly #troubles = new Troubles();
  readonly #blank = new Troubles();
  /** By guest: which files were taken, and how often blank disks were opened afresh. */
  readonly #taken = new Map<string, string>();
  readonly #afresh = new Map<string, number>();
  /** Images that others read. */
  readonly #convertedImages = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
    this.#converted = new ConvertedDisks(log);
  }

  /** Those that can be tried now. Throws ImageError for one that is required and cannot be read. */
  async open(wanted: Wanted, qmp: QmpGuests, required: readonly string[]): Promise<Readable[]> {
    for (const known of [this.#troubles, this.#blank]) known.keep(wanted);
    for (const guest of this.#taken.keys()) if (!wanted.has(guest)) this.#taken.delete(guest);
    const readable = await Promise.all(
      [...wanted.values()].map((guest) => this.#open(guest, qmp, required.includes(guest.name))),
    );
    return readable.flatMap((one) => one ?? []);
  }

  /** Takes note of what became of guests that were tried. */
  opened(tried: readonly Readable[], { problems, blank }: OpenedGuests): void {
    for (const { spec, signature } of tried) {
      const { name } = spec;
      const problem = problems.find(({ guest }) => guest === name);
      if (problem !== undefined) this.#trouble(name, "refused", problem.reason, signature);
      else this.#troubles.clear(name);
      if (blank.includes(name)) this.#blank.set(name, "blank", NOTHING_THERE, signature);
      else this.#blank.clear(name);
    }
  }

  /** Those that were opened. */
  without(tried: readonly Readable[], { problems }: OpenedGuests): Readable[] {
    return tried.filter(({ spec }) => !problems.some(({ guest }) => guest === spec.name));
  }

  /** Nothing could be shown with what is new: it is left out for now. Returns whether anything is. */
  blame(tried: readonly Readable[], shown: readonly Readable[], reason: string): boolean {
    const known = new Set(shown.map(({ key }) => key));
    const fresh = tried.filter(({ key }) => !known.has(key));
    for (const { spec, signature } of fresh) this.#trouble(spec.name, "refused", reason, signature);
    return fresh.length > 0;
  }

  /** Why a guest is not shown; undefined: nothing is known against it. */
  reason(guest: string): string | undefined {
    return this.#troubles.reason(guest);
  }

  /** Those that are not shown as they ought to be. */
  unavailable(wanted: Wanted, shown: ReadonlySet<string>, qmp: QmpGuests): GuestProblem[] {
    return [...wanted.values()].flatMap(({ name, reason }) => {
      if (shown.has(name)) {
        const blank = this.#blank.reason(name);
        return blank === undefined ? [] : [{ guest: name, reason: blank }];
      }
      const why = this.#troubles.reason(name) ?? (qmp.reason(name) || reason || "it is about to be shown");
      return [{ guest: name, reason: why }];
    });
  }

  /** Looks at all images; returns whether any guest is to be opened (afresh). */
  async look(wanted: Wanted, qmp: QmpGuests): Promise<boolean> {
    const looked = [...wanted.values()].filter((guest) => this.#isLookedAt(guest, qmp));
    await this.looks.look(looked.flatMap(({ images }) => images));
    return looked.some(({ name, images }) => {
      for (const known of [this.#troubles, this.#blank])
        if (known.reason(name) !== undefined)
          return known.isDue(name, this.#signature(images), this.#isQuiet(images));
      return (
        this.#isSettled(images) && this.#taken.has(name) && this.#taken.get(name) !== this.#files(images)
      );
    });
  }

  /** Ends what no longer serves any guest that is shown. */
  keep(shown: readonly Readable[]): void {
    this.#converted.keep(new Set(shown.flatMap(({ converted }) => converted)));
  }

  stop(): void {
    this.#converted.stop();
  }

  async #open(guest: WantedGuest, qmp: QmpGuests, isRequired: boolean): Promise<Readable | undefined> {
    const { name, images } = guest;
    const ready = guest.isReady ? images : qmp.images(name);
    if (ready !== undefined) {
      const spec = guestOf(name, ready);
      this.#troubles.clear(name);
      return { spec, key: JSON.stringify([name, ready]), signature: "", converted: [] };
    }
    if (images.length === 0 || qmp.isBeingTried(name)) return undefined;
    const signature = this.#signature(images);
    const isQuiet = this.#isQuiet(images);
    if (!this.#troubles.isDue(name, signature, isQuiet)) return undefined;
    const missing = images.find((image) => this.looks.at(image)?.id === "");
    if (missing !== undefined && !isRequired) {
      this.#trouble(name, "missing", `${parseImage(missing).path}: no such image; check the path`, signature);
      return undefined;
    }
    const converted = images.map((image, disk) =>
      JSON.stringify([name, disk, image, this.looks.at(image)?.id]),
    );
    let sources: string[];
    try {
      sources = await Promise.all(images.map((image, disk) => this.#converted.open(converted[disk]!, image)));
    } catch (error) {
      if (isRequired) throw error;
      this.#trouble(name, "unreadable", (error as Error).message, signature);
      return undefined;
    }
    for (const [disk, image] of images.entries()) {
      if (sources[disk] !== image && isNbdUrl(sources[disk]!)) this.#convertedImages.add(image);
      else this.#convertedImages.delete(image);
    }
    if (this.#blank.reason(name) !== undefined && this.#blank.isDue(name, signature, isQuiet))
      this.#afresh.set(name, (this.#afresh.get(name) ?? 0) + 1);
    if (!guest.isFixed && (this.#isSettled(images) || !this.#taken.has(name)))
      this.#taken.set(name, this.#files(images));
    const isRemote = guestOf(name, images).isRemote === true || sources.some(isNbdUrl);
    const key = JSON.stringify([name, sources, this.#taken.get(name), this.#afresh.get(name)]);
    return { spec: { name, images: sources, isRemote }, key, signature, converted };
  }

  #trouble(guest: string, kind: TroubleKind, reason: string, signature: string): void {
    this.#taken.delete(guest);
    if (this.#troubles.set(guest, kind, reason, signature))
      this.#log(`${guest}: is not shown, and is tried again: ${reason}`, { guest });
  }

  /** Guests of the command line are read as they were at the start, unless they could not be. */
  #isLookedAt({ name, isReady, isFixed }: WantedGuest, qmp: QmpGuests): boolean {
    if (isReady || qmp.images(name) !== undefined) return false;
    return !isFixed || this.#troubles.reason(name) !== undefined;
  }

  #isSettled(images: readonly string[]): boolean {
    return images.every((image) => this.looks.isSettled(image));
  }

  #isQuiet(images: readonly string[]): boolean {
    return images.every((image) => this.looks.isQuiet(image));
  }

  #signature(images: readonly string[]): string {
    return JSON.stringify(images.map((image) => this.looks.at(image)));
  }

  /** Which files a guest's images are. A disk whose format is not raw has another size after each new cluster. */
  #files(images: readonly string[]): string {
    return JSON.stringify(
      images.map((image) => {
        const look = this.looks.at(image);
        return look && [look.id, this.#convertedImages.has(image) ? 0 : look.size];
      }),
    );
  }
}
