/** Files that Windows keeps compressed, on NTFS: compressed by wimlib, put there through ntfs-3g. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { inputs, makeNtfs, mountNtfs, type Resource, wimResources } from "./support/compressed.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("wof");
afterAll(cleanUp);

const kinds = [
  { number: 0, compress: "XPRESS", chunk: "4K" },
  { number: 1, compress: "LZX", chunk: "32K" },
  { number: 2, compress: "XPRESS", chunk: "8K" },
  { number: 3, compress: "XPRESS", chunk: "16K" },
] as const;

/** IO_REPARSE_TAG_WOF with WOF_EXTERNAL_INFO and FILE_PROVIDER_EXTERNAL_INFO_V1. */
function reparseData(algorithm: number): string {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt32LE(0x80000017, 0);
  bytes.writeUInt16LE(16, 4);
  [1, 2, 1, algorithm].forEach((value, index) => {
    bytes.writeUInt32LE(value, 8 + 4 * index);
  });
  return `0x${bytes.toString("hex")}`;
}

test("Each has its size, and the bytes that were compressed", async () => {
  const image = join(folder, "wof.img");
  const mounted = join(folder, "mounted");
  await makeNtfs(image);
  const made = new Map<string, Resource>();
  const unmount = await mountNtfs(image, mounted, "streams_interface=windows");
  try {
    for (const { number, compress, chunk } of kinds) {
      mkdirSync(join(mounted, chunk));
      for (const resource of await wimResources(folder, inputs(), compress, chunk)) {
        const path = join(mounted, chunk, resource.name);
        writeFileSync(path, "");
        truncateSync(path, resource.contents.length);
        writeFileSync(`${path}:WofCompressedData`, resource.stream);
        await run("setfattr", ["-h", "-n", "system.ntfs_reparse_data", "-v", reparseData(number), path]);
        made.set(`${chunk}/${resource.name}`, resource);
      }
    }
  } finally {
    await unmount();
  }
  expect(made.size).toBeGreaterThan(60);
  const sum = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
  const wrong: string[] = [];
  for (const { chunk } of kinds) {
    const names = [...made.keys()].filter((name) => name.startsWith(`${chunk}/`));
    const all = execFileSync(process.execPath, [main, "cat", ...names.map((name) => `${image}:/${name}`)], {
      maxBuffer: 1 << 30,
    });
    let at = 0;
    for (const name of names) {
      const { contents } = made.get(name)!;
      if (sum(all.subarray(at, at + contents.length)) !== sum(contents)) wrong.push(name);
      at += contents.length;
    }
    expect(at).toBe(all.length);
  }
  expect(wrong).toEqual([]);
  const told = await run(process.execPath, [main, "ls", "--json", `${image}:/32K`]);
  for (const { name, size } of JSON.parse(told) as { name: string; size: number }[]) {
    expect({ name, size }).toEqual({ name, size: made.get(`32K/${name}`)!.contents.length });
  }
});
