/**
 * Attaches to a running QEMU that knows nothing of it: its disks are exported for reading, and a mirror (`sync=none`,
 * `copy-mode=write-blocking`) sends each write to a tap before the guest is told that it is done. As long as it lasts,
 * QEMU refuses what does not go with a job: other jobs, snapshots and new sizes of these disks; and QEMU 7.2 drops the
 * guest's discards, which its filter for mirrors does not pass on.
 */
import type { AttachedDisk, Attachment, AttachOptions, GuestDisk, Loss, TapTarget } from "./attachment.js";
import { clearExports, clearJobs } from "./clearing.js";
import { enter, leave } from "./entering.js";
import { addExport, exportUrl, startServer } from "./exports.js";
import { isDevice } from "./guest-disks.js";
import { text } from "./json.js";
import { type QmpClient, QmpError, type QmpEvent, told } from "./qmp-client.js";
import type { Session } from "./session.js";

/** A disk, and what is made for it in QEMU. */
interface Mirrored {
  readonly disk: AttachedDisk;
  /** Undefined for a disk that the guest cannot write to. */
  readonly tap: TapTarget | undefined;
  readonly job: string;
  readonly export: string;
  readonly target: string;
  readonly filter: string;
  isMirrored: boolean;
  isExported: boolean;
}

/** Attaches to a guest. Throws QmpError, one line, and has changed nothing then. */
export function attachGuest(options: AttachOptions): Promise<Attachment> {
  return enter(options, async ({ client, session, disks }) => {
    const mirrored: Mirrored[] = [];
    for (const disk of disks) mirrored.push(await prepare(disk, options, session));
    const attachment = new GuestAttachment(client, options, session, mirrored);
    await attachment.begin();
    return attachment;
  });
}

async function prepare(
  disk: GuestDisk,
  { exportSocket, tapFor }: AttachOptions,
  session: Session,
): Promise<Mirrored> {
  const name = session.name("e", disk.index);
  return {
    disk: { ...disk, exportUrl: exportUrl(name, exportSocket) },
    tap: disk.isReadOnly ? undefined : await tapFor(disk),
    job: session.name("j", disk.index),
    export: name,
    target: session.name("t", disk.index),
    filter: session.name("f", disk.index),
    isMirrored: false,
    isExported: false,
  };
}

class GuestAttachment implements Attachment {
  readonly #client: QmpClient;
  readonly #options: AttachOptions;
  readonly #session: Session;
  #mirrored: Mirrored[];
  /** Changes in QEMU are made one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  /** Events of what is ended on purpose tell nothing. */
  #isEnding = false;
  #listener: ((loss: Loss) => void) | undefined;
  /** Those that nobody has listened to yet. */
  #losses: Loss[] = [];
  /** Why the guest is going to end; "" if it is not. What becomes of its disks then is held back: it may yet go on. */
  #farewell = "";
  #held: Loss[] = [];

  constructor(client: QmpClient, options: AttachOptions, session: Session, mirrored: Mirrored[]) {
    this.#client = client;
    this.#options = options;
    this.#session = session;
    this.#mirrored = mirrored;
    client.onEvent = (event) => this.#take(event);
    void client.closed.then((reason) => this.#closed(reason));
  }

  get disks(): readonly AttachedDisk[] {
    return this.#mirrored.map(({ disk }) => disk);
  }

  async begin(): Promise<void> {
    try {
      for (const mirrored of this.#mirrored) await this.#make(mirrored);
    } catch (error) {
      this.#isEnding = true;
      throw error;
    }
  }

  onLost(listener: (loss: Loss) => void): void {
    this.#listener = listener;
    for (const loss of this.#losses.splice(0)) listener(loss);
  }

  reattach(disk: AttachedDisk): Promise<void> {
    return this.#inTurn(async () => {
      const mirrored = this.#mirrored.find((one) => one.disk === disk);
      if (mirrored === undefined || this.#isEnding)
        throw new QmpError(this.#options.socket, `${told(disk.name)}: the guest does not have it any more`);
      await this.#make(mirrored);
    });
  }

  detach(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isEnding) return;
      this.#isEnding = true;
      await leave(this.#client, this.#options, this.#session);
    });
  }

  #inTurn<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => {});
    return result;
  }

  /** Makes what is not there of a disk's export and mirror. */
  async #make(mirrored: Mirrored): Promise<void> {
    const { disk, tap, target } = mirrored;
    const client = this.#client;
    if (!mirrored.isExported) {
      if (!this.#mirrored.some(({ isExported }) => isExported))
        await startServer(client, this.#options.exportSocket);
      await addExport(client, mirrored.export, disk.node);
      mirrored.isExported = true;
    }
    if (tap === undefined || mirrored.isMirrored) return;
    // Of a mirror that ended.
    await client.execute("blockdev-del", { "node-name": target }).catch(() => {});
    await client.execute("blockdev-add", {
      driver: "nbd",
      "node-name": target,
      server: { type: "unix", path: tap.socket },
      export: tap.exportName,
      // Longer, and the guest waits that long for a tap that has died.
      "reconnect-delay": 0,
    });
    mirrored.isMirrored = true;
    try {
      await client.execute("blockdev-mirror", {
        "job-id": mirrored.job,
        device: disk.node,
        target,
        "filter-node-name": mirrored.filter,
        sync: "none",
        "copy-mode": "write-blocking",
        "on-target-error": "report",
      });
    } catch (error) {
      mirrored.isMirrored = false;
      throw error;
    }
  }

  #take({ event, data }: QmpEvent): void {
    switch (event) {
      case "BLOCK_JOB_COMPLETED":
      case "BLOCK_JOB_CANCELLED": {
        const mirrored = this.#mirrored.find(({ job }) => job === text(data, "device"));
        if (mirrored === undefined || this.#isEnding || !mirrored.isMirrored) return;
        mirrored.isMirrored = false;
        const why = text(data, "error") ?? (event === "BLOCK_JOB_CANCELLED" ? "somebody cancelled it" : "");
        this.#lose({
          disk: mirrored.disk,
          reason: `its mirror ended${why && ` (${told(why)})`}`,
          canReattach: true,
        });
        return;
      }
      case "BLOCK_EXPORT_DELETED": {
        const mirrored = this.#mirrored.find((one) => one.export === text(data, "id"));
        if (mirrored === undefined || this.#isEnding || !mirrored.isExported) return;
        mirrored.isExported = false;
        this.#lose({ disk: mirrored.disk, reason: "its export for reading ended", canReattach: true });
        return;
      }
      case "DEVICE_DELETED": {
        const names = [text(data, "device"), text(data, "path")].filter((name) => name !== undefined);
        for (const mirrored of this.#mirrored.filter(({ disk }) =>
          names.some((name) => isDevice(disk, name)),
        ))
          this.#unplugged(mirrored);
        return;
      }
      case "SHUTDOWN":
        this.#farewell = `the guest was switched off (${told(text(data, "reason") ?? "no reason told")})`;
        return;
      // A machine that stays after it was switched off (-no-shutdown) can be started again.
      case "RESET":
      case "RESUME":
        this.#farewell = "";
        for (const loss of this.#held.splice(0)) this.#lose(loss);
    }
  }

  /** Its node stays until nobody uses it: neither the export nor the mirror must. */
  #unplugged(mirrored: Mirrored): void {
    this.#mirrored = this.#mirrored.filter((one) => one !== mirrored);
    void this.#inTurn(async () => {
      if (this.#isEnding) return;
      await clearJobs(this.#client, (name) => name === mirrored.job);
      await clearExports(this.#client, (name) => name === mirrored.export);
      await this.#client.execute("blockdev-del", { "node-name": mirrored.target }).catch(() => {});
    })
      .catch((error: Error) => this.#options.log(error.message))
      .finally(() => {
        if (!this.#isEnding)
          this.#lose({ disk: mirrored.disk, reason: "it was unplugged", canReattach: false });
      });
  }

  #closed(reason: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    void leave(this.#client, this.#options, this.#session)
      .catch((error: Error) => this.#options.log(error.message))
      .finally(() => this.#lose({ disk: undefined, reason: this.#farewell || reason, canReattach: false }));
  }

  #lose(loss: Loss): void {
    if (this.#farewell !== "" && loss.disk !== undefined) this.#held.push(loss);
    else if (this.#listener === undefined) this.#losses.push(loss);
    else this.#listener(loss);
  }
}
