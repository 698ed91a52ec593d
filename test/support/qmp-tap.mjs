/**
 * A process that attaches to a guest: the tap, its watchdog and a recording of each disk. Its argument is JSON; with
 * `thread` the tap is in a thread of its own, as the daemon has it. It tells on its output what happens, an object a
 * line, and is told commands on its input, one a line: `drop DISK` ends a mirror's connection, `reattach DISK` mirrors a
 * disk again, `hang` waits for ever, `spin` is busy for ever, `detach` ends it. Disks are told by their numbers.
 */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const load = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const { attachGuest } = await load("capture/qmp/attach.js");
const { RecordingWriter } = await load("capture/recording/writer.js");

const { folder, socket, disks, thread = true } = JSON.parse(process.argv[2]);
// At once, so that nothing told is lost when this process is killed.
const tell = (what) => writeSync(1, `${JSON.stringify(what)}\n`);
const log = (line) => tell({ kind: "log", line });
const writers = new Map();
const record = (disk, records) => writers.get(disk)?.write(records);

async function tapInThread() {
  const { Tapping } = await load("daemon/tapping.js");
  const tapping = new Tapping({ limits: { flushTimeout: 5 }, log, consume: record, onDeath: log });
  const sizes = new Map();
  return {
    guard: tapping,
    listen: (path) => tapping.listen({ path }),
    add: (name, size) => tapping.add({ kind: "mirror", name, size: sizes.set(name, size).get(name) }),
    drop: async (name) => {
      await tapping.remove(name);
      await tapping.add({ kind: "mirror", name, size: sizes.get(name) });
    },
    stop: () => tapping.stop(),
  };
}

async function tapHere() {
  const { Export } = await load("capture/nbd/export.js");
  const { MirrorStore } = await load("capture/nbd/mirror-store.js");
  const { NbdServer } = await load("capture/nbd/server.js");
  const { WatchdogKeeper } = await load("capture/qmp/watchdog-keeper.js");
  const server = new NbdServer({ log });
  const guard = new WatchdogKeeper({ log });
  return {
    guard,
    listen: (path) => server.listen({ path }),
    add: (name, size) =>
      server.add(
        new Export(name, "", new MirrorStore(size), { take: () => undefined }, { tellsData: false }),
      ),
    stop: async () => {
      await server.stop();
      await guard.stop();
    },
  };
}

const tap = await (thread ? tapInThread() : tapHere());
try {
  const tapSocket = join(folder, "tap.sock");
  await tap.listen(tapSocket);
  const attachment = await attachGuest({
    socket,
    ...(disks && { disks }),
    tapFor: async ({ index, size }) => {
      const exportName = `${index}`;
      if (thread)
        writers.set(exportName, await RecordingWriter.create(join(folder, `disk${index}.rec`), size));
      await tap.add(exportName, size);
      return { socket: tapSocket, exportName };
    },
    exportSocket: join(folder, "export.sock"),
    guard: tap.guard,
    log,
  });
  attachment.onLost(({ disk, reason, canReattach }) =>
    tell({ kind: "lost", index: disk?.index, reason, canReattach }),
  );
  tell({ kind: "attached", disks: attachment.disks });
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, disk] = line.split(" ");
    if (command === "hang") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    while (command === "spin");
    if (command === "drop") await tap.drop(disk);
    if (command === "reattach")
      await attachment.reattach(attachment.disks.find(({ index }) => index === Number(disk)));
    if (command === "detach") {
      await attachment.detach();
      break;
    }
    tell({ kind: "done" });
  }
} catch (error) {
  tell({ kind: "failed", line: error.message });
}
await tap.stop();
for (const writer of writers.values()) await writer.close();
tell({ kind: "ended" });
process.stdin.destroy();
