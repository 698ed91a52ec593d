/**
 * A process that attaches to a guest: the tap, its watchdog and a recording of each disk. Its argument is JSON; it tells
 * on its output what happens, an object a line, and is told commands on its input, one a line: reattach, detach, hang.
 */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const load = (path) => import(new URL(`../../dist/${path}`, import.meta.url).href);
const [
  { Export },
  { MirrorStore },
  { NbdServer },
  { attachGuest },
  { WatchdogKeeper },
  { RecordingWriter },
  { WriteQueue },
] = await Promise.all([
  load("capture/nbd/export.js"),
  load("capture/nbd/mirror-store.js"),
  load("capture/nbd/server.js"),
  load("capture/qmp/attach.js"),
  load("capture/qmp/watchdog-keeper.js"),
  load("capture/recording/writer.js"),
  load("queue/write-queue.js"),
]);

const { folder, socket, disks, record = true } = JSON.parse(process.argv[2]);
// At once, so that nothing told is lost when this process is killed.
const tell = (what) => writeSync(1, `${JSON.stringify(what)}\n`);

const log = (line) => tell({ kind: "log", line });
const server = new NbdServer({ log });
const tapSocket = join(folder, "tap.sock");
await server.listen({ path: tapSocket });
const watchdog = new WatchdogKeeper({ log });
const recorders = [];

async function tapFor({ index, size }) {
  const exportName = `disk${index}`;
  const writer = record ? await RecordingWriter.create(join(folder, `${exportName}.rec`), size) : undefined;
  const queue = new WriteQueue({
    flushTimeout: 5,
    pressure: "block",
    consume: (batch) => writer?.write(batch),
  });
  recorders.push({ writer, queue });
  server.add(new Export(exportName, "", new MirrorStore(size), queue, { tellsData: record }));
  return { socket: tapSocket, exportName };
}

try {
  const attachment = await attachGuest({
    socket,
    ...(disks && { disks }),
    tapFor,
    exportSocket: join(folder, "export.sock"),
    guard: watchdog,
    log,
  });
  attachment.onLost(({ disk, reason, canReattach }) =>
    tell({ kind: "lost", index: disk?.index, reason, canReattach }),
  );
  tell({ kind: "attached", disks: attachment.disks, watchdog: watchdog.pid });
  for await (const command of createInterface({ input: process.stdin })) {
    if (command === "hang") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    if (command === "drop") for (const { index } of attachment.disks) await server.remove(`disk${index}`);
    if (command === "pid") tell({ kind: "pid", watchdog: watchdog.pid });
    if (command.startsWith("reattach"))
      await attachment.reattach(
        attachment.disks.find(({ index }) => index === Number(command.split(" ")[1])),
      );
    if (command === "detach") {
      await attachment.detach();
      break;
    }
    tell({ kind: "done", command });
  }
  await server.stop();
  for (const { writer, queue } of recorders) {
    await queue.flush();
    await writer?.close();
  }
} catch (error) {
  tell({ kind: "failed", line: error.message });
}
await watchdog.stop();
await server.stop();
tell({ kind: "ended" });
