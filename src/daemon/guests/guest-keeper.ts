/**
 * The guests that are to be shown, while that changes: named on the command line, by the configuration, added or attached
 * to by hand, or found. It has them shown, and tries again what could not be.
 */
import type { Log } from "../../images/image.js";
import type { Command, CommandDone } from "../commands.js";
import { type GuestSpec, isGuestName } from "../guest-name.js";
import type { GuestProblem, OpenedGuests } from "../guest-problem.js";
import { isAbsoluteImage } from "../image-name.js";
import type { ServerSettings } from "../server-messages.js";
import type { HandedGuests } from "../succession/handed-over.js";
import type { TapKeeper } from "../tap-keeper.js";
import { isSameRequest } from "../tap-process-messages.js";
import { UserError } from "../user-error.js";
import { AddedGuests } from "./added-guests.js";
import { Changes } from "./changes.js";
import { GuestDisks, type Readable } from "./guest-disks.js";
import { type GuestList, type Merged, mergeGuests } from "./merge.js";
import { movedImages } from "./moved-images.js";
import type { GuestPlan } from "./plan.js";
import { QmpGuests } from "./qmp-guests.js";
import { Sources } from "./sources.js";

/** ms between looks at the images. */
const LOOK_EVERY = 2000;
/** ms that finding guests, and attaching to them, may take until the tree is mounted without those that are missing. */
const FIRST_PATIENCE = 3000;

const NAMED = "the command line";
const CONFIGURED = "the configuration";

/** What shows guests. */
export interface Shows {
  /** Has these guests shown, as far as they can be opened; `sure` is called when they can. Throws UserError. */
  show(
    guests: readonly GuestSpec[],
    settings: ServerSettings,
    sure: (opened: OpenedGuests) => void,
  ): Promise<void>;
  /** For those who ask for the status. */
  tellUnavailable(guests: readonly GuestProblem[]): void;
}

export interface GuestKeeperOptions {
  /** The guests of the command line. */
  readonly named: readonly GuestSpec[];
  readonly plan: GuestPlan;
  readonly settings: ServerSettings;
  /** Reads the configuration again; undefined: there is none. Throws UserError. */
  readonly reread: (() => Promise<GuestPlan>) | undefined;
  /** The state directory; undefined: none can be used. */
  readonly state: string | undefined;
  readonly mirrors: TapKeeper;
  /** What another daemon had, whose place this one takes. */
  readonly handed?: HandedGuests | undefined;
  readonly log: Log;
}

export class GuestKeeper {
  readonly #options: GuestKeeperOptions;
  readonly #log: Log;
  readonly #added: AddedGuests;
  /** Guests that were attached to by hand: where their disks can be read. */
  readonly #attached = new Map<string, readonly string[]>();
  readonly #changes: Changes<void>;
  readonly #sources: Sources;
  readonly #qmp: QmpGuests;
  readonly #disks: GuestDisks;
  #plan: GuestPlan;
  #merged: Merged = { wanted: new Map(), passedOver: [] };
  #shown: readonly Readable[] = [];
  #settings: ServerSettings;
  #settingsShown: string | undefined;
  #feed: string | undefined;
  #unavailable: readonly GuestProblem[] = [];
  /** Lines that need not be said again. */
  #said: readonly string[] = [];
  #shows: Shows | undefined;
  #looking: NodeJS.Timeout | undefined;
  #isStopped = false;
  /** Commands that are under way; none begins while what is here is handed over. */
  readonly #commands = new Set<Promise<unknown>>();
  #isHandingOver = false;

  constructor(options: GuestKeeperOptions) {
    const { state, mirrors, log, plan, settings } = options;
    this.#options = options;
    this.#log = log;
    this.#plan = plan;
    this.#settings = settings;
    this.#settingsShown = JSON.stringify(settings);
    this.#added = new AddedGuests(state, log);
    const changed = (): void => this.#changes.later();
    this.#changes = new Changes({
      apply: (sure) => this.#apply(sure),
      failed: ({ message }) => log(`the guests that are shown stay as they are: ${message}`),
    });
    this.#sources = new Sources(changed, log);
    this.#qmp = new QmpGuests({ mirrors, changed, log });
    this.#disks = new GuestDisks(log);
  }

  /** The names of the guests without which there is nothing to begin with. */
  get required(): readonly string[] {
    return this.#options.named.map(({ name }) => name);
  }

  /** The guests to begin with. Throws ImageError for one of the command line that cannot be read. */
  async first(): Promise<readonly GuestSpec[]> {
    const { handed } = this.#options;
    this.#sources.begin(handed?.found ?? []);
    this.#sources.set(this.#plan.sources);
    await Promise.all([this.#sources.found(FIRST_PATIENCE), handed && this.#takeAttached(handed)]);
    await this.#merge();
    await this.#qmp.tried(FIRST_PATIENCE);
    const readable = await this.#disks.open(this.#wanted, this.#qmp, this.required);
    this.#shown = readable;
    this.#feed = this.#options.mirrors.feed;
    return readable.map(({ spec }) => spec);
  }

  /** From now on the guests can change. */
  begin(shows: Shows): void {
    this.#shows = shows;
    void this.#dropUnwanted();
    this.#tellUnavailable();
    this.#changes.release();
    this.#look();
  }

  /** A server has opened what it was to show. */
  readonly opened = (opened: OpenedGuests): void => {
    this.#disks.opened(this.#shown, opened);
    this.#shown = this.#disks.without(this.#shown, opened);
    this.#tellUnavailable();
  };

  /** A guest that was attached to has gone by itself. */
  readonly gone = (guest: string, reason: string): void => {
    if (!this.#qmp.gone(guest, reason) && !this.#attached.delete(guest)) return;
    this.#log(`${guest}: ${reason}: it is no longer shown`, { guest });
    this.#changes.later(0);
  };

  /** A guest that was attached to is to be read elsewhere. */
  readonly moved = (guest: string, images: readonly string[]): void => {
    if (this.#attached.has(guest)) this.#attached.set(guest, images);
    else if (!this.#qmp.moved(guest, images)) return;
    this.#changes.later(0);
  };

  /** Rejects with UserError. */
  readonly run = async (command: Command): Promise<CommandDone> => {
    if (this.#isStopped || this.#shows === undefined)
      throw new UserError("the daemon is ending, or not ready yet");
    if (this.#isHandingOver) throw new UserError("the daemon is being renewed: try again in a moment");
    const done = this.#do(command);
    this.#commands.add(done);
    const lines = await done.finally(() => this.#commands.delete(done));
    return { lines, guests: this.#names };
  };

  /** What another daemon is to know that takes this one's place; no command is done from now on, but after `keep`. */
  async handOver(): Promise<HandedGuests> {
    this.#isHandingOver = true;
    await Promise.allSettled(this.#commands);
    return {
      byHand: [...this.#attached.keys()],
      attached: this.#options.mirrors.attached,
      found: this.#sources.lists.map(({ origin: source, guests }) => ({ source, guests })),
    };
  }

  /** Nobody has taken this one's place. */
  keep(): void {
    this.#isHandingOver = false;
  }

  /** Reads the configuration again. Returns lines that tell what came of it. Throws UserError, and nothing is changed. */
  async reload(): Promise<readonly string[]> {
    const { reread } = this.#options;
    if (reread === undefined)
      throw new UserError("this daemon was started without a configuration: start it with --config");
    const before = new Set(this.#merged.wanted.keys());
    const plan = await reread();
    this.#plan = plan;
    if (plan.settings !== undefined) this.#settings = this.#withState(plan.settings);
    this.#sources.set(plan.sources);
    await this.#sources.found(FIRST_PATIENCE);
    await this.#changes.ask();
    const now = new Set(this.#merged.wanted.keys());
    return [
      ...plan.notes,
      ...[...now].flatMap((name) => (before.has(name) ? [] : [`${name}: is new`])),
      ...[...before].flatMap((name) => (now.has(name) ? [] : [`${name}: is no longer wanted`])),
      ...this.#unavailable.map(({ guest, reason }) => `${guest}: ${reason}`),
    ];
  }

  /** How guests are shown from the next change on. */
  get settings(): ServerSettings {
    return this.#settings;
  }

  /** Who may see what, from the next change on. */
  setPolicy(policy: ServerSettings["policy"]): void {
    this.#settings = { ...this.#settings, policy };
  }

  /** How many guests are shown now. */
  get shown(): number {
    return this.#shown.length;
  }

  /** Ends all that is under way; nothing changes any more, and what is shown can be read on. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#looking);
    this.#qmp.stop();
    await Promise.all([this.#sources.stop(), this.#changes.stop()]);
  }

  /** No guest is shown any more. */
  close(): void {
    this.#disks.stop();
  }

  get #names(): readonly string[] {
    return this.#shown.map(({ spec }) => spec.name);
  }

  /** Goes on with guests that were attached to by hand. */
  async #takeAttached({ byHand, attached }: HandedGuests): Promise<void> {
    const { mirrors } = this.#options;
    const taken = attached.map(async (request) => {
      const { guest } = request;
      if (!byHand.includes(guest)) return;
      try {
        this.#attached.set(guest, await mirrors.attach(request));
      } catch (error) {
        this.#log(`${guest}: ${(error as Error).message}: it is no longer shown`, { guest });
      }
    });
    await Promise.all(taken);
  }

  /** Lets go of guests that the daemon before this one was attached to, and that are not wanted any more. */
  async #dropUnwanted(): Promise<void> {
    const { handed, mirrors } = this.#options;
    for (const request of handed?.attached ?? []) {
      const { guest } = request;
      const { qmp, disks, capture } = this.#wanted.get(guest) ?? {};
      const isWanted = qmp !== undefined && isSameRequest({ socket: qmp, disks, capture }, request);
      if (isWanted || this.#attached.has(guest)) continue;
      await mirrors.detach(guest).catch(({ message }: Error) => this.#log(`${guest}: ${message}`, { guest }));
    }
  }

  #do(command: Command): Promise<readonly string[]> {
    switch (command.kind) {
      case "attach":
        return this.#attach(command);
      case "detach":
        return this.#detach(command.guest);
      case "add":
        return this.#add(command.guest, command.images);
      case "remove":
        return this.#remove(command.guest);
      case "reload":
        return this.reload();
      case "renew":
        throw new UserError("the daemon renews itself as a whole");
    }
  }

  async #attach({ guest, socket, disks, capture }: Command & { kind: "attach" }): Promise<readonly string[]> {
    const { mirrors } = this.#options;
    this.#requireFree(guest);
    const images = await mirrors.attach({ guest, socket, disks, capture });
    this.#attached.set(guest, images);
    try {
      await this.#changes.ask(0);
      const problem = this.#disks.reason(guest);
      if (problem !== undefined) throw new UserError(problem);
      return images;
    } catch (error) {
      this.#attached.delete(guest);
      this.#changes.later();
      await mirrors.detach(guest);
      throw error;
    }
  }

  async #detach(guest: string): Promise<readonly string[]> {
    const { mirrors } = this.#options;
    const origin = this.#merged.wanted.get(guest)?.origin;
    if (!this.#attached.has(guest)) {
      if (origin !== undefined && mirrors.isAttached(guest))
        throw new UserError(`${guest}: is attached to for ${origin}: change that`);
      throw new UserError(`${guest}: is not attached; slashcloud status lists the guests`);
    }
    this.#attached.delete(guest);
    // Whatever QEMU says to it, the guest is no longer shown.
    const failed = await mirrors.detach(guest).then(
      () => undefined,
      (error: Error) => error,
    );
    await this.#changes.ask(0);
    if (failed !== undefined) throw failed;
    return [];
  }

  async #add(guest: string, images: readonly string[]): Promise<readonly string[]> {
    this.#requireFree(guest);
    const relative = images.find((image) => !isAbsoluteImage(image));
    if (relative !== undefined) throw new UserError(`${relative}: write the whole path of an image`);
    this.#added.add({ name: guest, images });
    try {
      await this.#changes.ask();
      const problem = this.#disks.reason(guest);
      if (problem !== undefined) throw new UserError(problem);
      return [];
    } catch (error) {
      this.#added.remove(guest);
      this.#changes.later();
      throw error;
    }
  }

  async #remove(guest: string): Promise<readonly string[]> {
    if (!this.#added.has(guest)) {
      const origin = this.#merged.wanted.get(guest)?.origin;
      if (this.#attached.has(guest))
        throw new UserError(`${guest}: was attached to: slashcloud detach ${guest}`);
      throw new UserError(
        origin === undefined
          ? `${guest}: there is no such guest; slashcloud status lists them`
          : `${guest}: was not added by hand, it comes from ${origin}: take it out there`,
      );
    }
    this.#added.remove(guest);
    await this.#changes.ask();
    return [];
  }

  /** Throws UserError for a name that no new guest can have. */
  #requireFree(guest: string): void {
    if (!isGuestName(guest)) throw new UserError(`"${guest}" cannot be a guest's name`);
    if (this.#merged.wanted.has(guest) || this.#attached.has(guest) || this.#added.has(guest))
      throw new UserError(`there is a guest ${guest} already: give this one another name`);
  }

  /** Whether events are told, and where they are kept, is settled at the start. */
  #withState(settings: ServerSettings): ServerSettings {
    const { events } = this.#settings;
    const { state, isStateNamed } = events ?? {};
    if (state === undefined || isStateNamed === undefined) return { ...settings, events: undefined };
    return {
      ...settings,
      events: settings.events === undefined ? events : { ...settings.events, state, isStateNamed },
    };
  }

  get #wanted(): Merged["wanted"] {
    return this.#merged.wanted;
  }

  /** Takes together what is wanted now. Returns those that are to be detached from once they are not shown. */
  async #merge(): Promise<Iterable<string>> {
    const { named } = this.#options;
    const attached = [...this.#attached].map(([name, images]) => ({ name, images }));
    const found = this.#sources.lists;
    const { guests: configured } = this.#plan;
    const fixed: readonly GuestList[] = [
      { origin: NAMED, guests: named, isDiscovered: false, isFixed: true },
      { origin: "slashcloud attach", guests: attached, isDiscovered: false, isReady: true },
    ];
    const added = this.#added.guests;
    const all = [named, configured, added, ...found.map(({ guests }) => guests)].flat();
    const { looks } = this.#disks;
    await looks.add(all.flatMap(({ images }) => images));
    const places = movedImages([...configured, ...added], found, looks, this.#added);
    const lists: readonly GuestList[] = [
      ...fixed,
      { origin: CONFIGURED, guests: places(configured), isDiscovered: false },
      { origin: "slashcloud add", guests: places(added), isDiscovered: false },
      ...found,
    ];
    this.#merged = mergeGuests(lists, (image) => looks.at(image)?.id ?? "");
    const { wanted, passedOver } = this.#merged;
    for (const line of passedOver) if (!this.#said.includes(line)) this.#log(line);
    this.#said = passedOver;
    return this.#qmp.want([...wanted.values()].filter(({ qmp }) => qmp !== undefined));
  }

  async #apply(sure: () => void): Promise<void> {
    if (this.#isStopped || this.#shows === undefined) throw new UserError("the daemon is ending");
    const left = await this.#merge();
    const readable = await this.#disks.open(this.#wanted, this.#qmp, []);
    await this.#show(readable, sure);
    for (const guest of left)
      await this.#options.mirrors
        .detach(guest)
        .catch(({ message }: Error) => this.#log(`${guest}: ${message}`));
    this.#disks.keep(this.#shown);
  }

  async #show(readable: readonly Readable[], sure: () => void): Promise<void> {
    const { mirrors } = this.#options;
    const isSame =
      keysOf(readable) === keysOf(this.#shown) &&
      this.#feed === mirrors.feed &&
      JSON.stringify(this.#settings) === this.#settingsShown;
    if (isSame) {
      this.#tellUnavailable();
      sure();
      return;
    }
    const before = this.#shown;
    try {
      await this.#shows?.show(
        readable.map(({ spec }) => spec),
        this.#settings,
        (opened) => {
          this.#settingsShown = JSON.stringify(this.#settings);
          this.#feed = mirrors.feed;
          this.#shown = readable;
          this.opened(opened);
          sure();
        },
      );
    } catch (error) {
      // What is new may be why: without that, the others can still change.
      const isFresh = this.#disks.blame(readable, before, (error as Error).message);
      if (!isFresh) throw error;
      await this.#show(await this.#disks.open(this.#wanted, this.#qmp, []), sure);
    }
  }

  #tellUnavailable(): void {
    const shown = new Set(this.#shown.map(({ spec }) => spec.name));
    this.#unavailable = this.#disks.unavailable(this.#wanted, shown, this.#qmp);
    this.#shows?.tellUnavailable(this.#unavailable);
  }

  #look(): void {
    this.#looking = setTimeout(() => {
      this.#disks.look(this.#wanted, this.#qmp).then(
        (isChanged) => {
          if (isChanged) this.#changes.later();
          if (!this.#isStopped) this.#look();
        },
        ({ message }: Error) => this.#log(message),
      );
    }, LOOK_EVERY);
    this.#looking.unref();
  }
}

function keysOf(readable: readonly Readable[]): string {
  return readable.map(({ key }) => key).join("\n");
}
