/** Guests that were added by hand, kept in the state directory until they are removed; and where files were seen last. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../../images/image.js";
import type { FoundGuest } from "../discovery/source.js";
import { isGuestName } from "../guest-name.js";
import { UserError } from "../user-error.js";

const FILE = "guests.json";

export class AddedGuests {
  readonly #file: string | undefined;
  readonly #log: Log;
  readonly #guests = new Map<string, FoundGuest>();
  /** By the path of an image: the file that was there, see ImageLook. */
  readonly #files = new Map<string, string>();

  /** `state`: the state directory, which this process has locked; undefined: nothing is kept. */
  constructor(state: string | undefined, log: Log) {
    this.#file = state === undefined ? undefined : join(state, FILE);
    this.#log = log;
    this.#load();
  }

  get guests(): readonly FoundGuest[] {
    return [...this.#guests.values()];
  }

  has(name: string): boolean {
    return this.#guests.has(name);
  }

  /** Throws UserError if it cannot be kept. */
  add(guest: FoundGuest): void {
    this.#guests.set(guest.name, guest);
    try {
      this.#save();
    } catch (error) {
      this.#guests.delete(guest.name);
      throw this.#notKept(error);
    }
  }

  /** Throws UserError if that cannot be kept: then it stays. */
  remove(name: string): void {
    const guest = this.#guests.get(name);
    if (guest === undefined) return;
    this.#guests.delete(name);
    try {
      this.#save();
    } catch (error) {
      this.#guests.set(name, guest);
      throw this.#notKept(error);
    }
  }

  /** The file that was seen last at the path of an image; "" if none was. */
  fileAt(image: string): string {
    return this.#files.get(image) ?? "";
  }

  /** Notes which files are at the paths of images; those of others are forgotten. */
  note(files: ReadonlyMap<string, string>): void {
    const isSame =
      files.size === this.#files.size && [...files].every(([image, id]) => this.#files.get(image) === id);
    if (isSame) return;
    this.#files.clear();
    for (const [image, id] of files) this.#files.set(image, id);
    try {
      this.#save();
    } catch (error) {
      this.#log(`which files the guests' images are cannot be kept: ${(error as Error).message}`);
    }
  }

  #load(): void {
    if (this.#file === undefined) return;
    let text: string;
    try {
      text = readFileSync(this.#file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        this.#log(`guests that were added cannot be read: ${(error as Error).message}`);
      return;
    }
    try {
      const { added, files } = JSON.parse(text) as { added: unknown; files: unknown };
      for (const guest of Array.isArray(added) ? added : []) {
        if (isFound(guest)) this.#guests.set(guest.name, guest);
      }
      for (const [image, id] of Object.entries(files ?? {}))
        if (typeof id === "string") this.#files.set(image, id);
    } catch {
      this.#log(`${this.#file}: cannot be read as JSON; guests that were added are to be added again`);
    }
  }

  #notKept(error: unknown): UserError {
    return new UserError(
      `${this.#file}: cannot be written, so nothing is changed: ${(error as Error).message}`,
    );
  }

  #save(): void {
    if (this.#file === undefined) return;
    const fresh = `${this.#file}.new`;
    const kept = { added: this.guests, files: Object.fromEntries(this.#files) };
    writeFileSync(fresh, `${JSON.stringify(kept, undefined, 2)}\n`, { mode: 0o600 });
    renameSync(fresh, this.#file);
  }
}

function isFound(guest: unknown): guest is FoundGuest {
  if (typeof guest !== "object" || guest === null) return false;
  const { name, images } = guest as Record<string, unknown>;
  return (
    typeof name === "string" &&
    isGuestName(name) &&
    Array.isArray(images) &&
    images.every((image) => typeof image === "string")
  );
}
