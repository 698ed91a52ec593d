/** Registry hives: what hivex and we read is the same; damaged ones end in an error with a line, and soon. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { Cells } from "../src/inspect/registry/cells.js";
import { numberOf, textOf } from "../src/inspect/registry/value.js";
import { cleanUp, workFolder } from "./support/images-mount.js";
import {
  addByHivex,
  below,
  buildHive,
  hiveOf,
  type KeyTree,
  key,
  linesByHivex,
  linesOf,
  withHiveFile,
} from "./support/registry-hive.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("registry");
afterAll(cleanUp);

/** A tree with keys and values of all kinds. */
function sample(): KeyTree {
  const sizes = [0, 1, 3, 4, 5, 16_343, 16_344, 16_345, 32_688, 32_689, 100_000];
  const data = Object.fromEntries(
    sizes.map((size) => [`of ${size}`, Buffer.from(Array.from({ length: size }, (_, at) => at % 251))]),
  );
  const many = Array.from({ length: 301 }, (_, index) =>
    key(`key ${String(index).padStart(4, "0")}`, { "": `text ${index}`, number: index }),
  );
  return key(
    "ROOT",
    {},
    key("data", data),
    key("many", {}, ...many),
    key("Grüße", { "Wert ä": "schön" }),
    key("ключ", { значение: "да", "weird™": 7 }),
    below("a\\very\\long\\path\\of\\keys", (name) => key(name, { end: "here" })),
  );
}

describe.each(["li", "lf", "lh", "ri"] as const)("a hive with subkeys in %s lists", (kind) => {
  const path = join(folder, `${kind}.hive`);

  test("is read as hivex reads it", () => {
    writeFileSync(path, buildHive(sample(), kind));
    const lines = withHiveFile(path, linesOf);
    expect(lines.length).toBeGreaterThan(900);
    expect(lines).toEqual(linesByHivex(path));
  });

  test("has keys and values by their names, in any case", () => {
    withHiveFile(path, (hive) => {
      const found = hive.key(["MANY", "Key 0300"])!;
      expect(found.name).toBe("key 0300");
      expect(textOf(hive.value(found, ""))).toBe("text 300");
      expect(numberOf(hive.value(found, "NUMBER"))).toBe(300);
      expect(hive.value(found, "none")).toBeUndefined();
      expect(hive.key(["many", "key 0301"])).toBeUndefined();
      expect(hive.key(["many", "key 0001", "x"])).toBeUndefined();
      expect(textOf(hive.value(hive.key(["grüße"])!, "WERT Ä"))).toBe("schön");
    });
  });
});

test("What hivex writes is read as hivex reads it", () => {
  const path = join(folder, "by-hivex.hive");
  writeFileSync(path, buildHive(key("ROOT", {}), "lf"));
  const keys: Record<string, unknown> = {};
  for (let index = 0; index < 700; index++) {
    keys[`Software\\Vendor ${index % 7}\\Program ${index}`] = [
      ["DisplayName", 1, Buffer.from(`Program ${index}\0`, "utf16le").toString("hex")],
      ["Size", 4, "01020304"],
      ["Big", 3, "ab".repeat(index * 40)],
      ["Zahl ö", 11, "0100000000000000"],
    ];
  }
  addByHivex(path, keys);
  const lines = withHiveFile(path, linesOf);
  expect(lines.length).toBeGreaterThan(3000);
  expect(lines).toEqual(linesByHivex(path));
});

test("Data mean what their type says", () => {
  const value = (type: number, hex: string) => ({ name: "", type, data: Buffer.from(hex, "hex") });
  expect(textOf(value(1, "41004200"))).toBe("AB");
  expect(textOf(value(2, "410000004200"))).toBe("A");
  expect(textOf(value(7, "4100000042000000"))).toBe("A");
  expect(textOf(value(1, ""))).toBe("");
  expect(textOf(value(1, "4100".repeat(10_000)))).toBe("A".repeat(512));
  expect(textOf(value(3, "4100"))).toBeUndefined();
  expect(textOf(undefined)).toBeUndefined();
  expect(numberOf(value(4, "01000080"))).toBe(0x80000001);
  expect(numberOf(value(5, "80000001"))).toBe(0x80000001);
  expect(numberOf(value(11, "0100000001000000"))).toBe(2 ** 32 + 1);
  expect(numberOf(value(11, "ffffffffffffffff"))).toBeUndefined();
  expect(numberOf(value(4, "0100"))).toBeUndefined();
  expect(numberOf(value(1, "01000000"))).toBeUndefined();
  expect(numberOf(undefined)).toBeUndefined();
});

describe("a hive that is not as it should be", () => {
  const good = buildHive(
    key("ROOT", {}, key("a", { x: "text", y: Buffer.alloc(20_000, 1) }, key("b", { z: 1 })), key("c", {})),
    "ri",
  );

  test("is refused if it is none", () => {
    expect(() => hiveOf(Buffer.alloc(0))).toThrow("it is no registry hive");
    expect(() => hiveOf(Buffer.alloc(8192))).toThrow("it is no registry hive");
    const other = Buffer.from(good);
    other.writeUInt32LE(2, 20);
    expect(() => hiveOf(other)).toThrow("its registry format is not known");
    expect(() => hiveOf(good.subarray(0, 4096))).toThrow(/^the hive is damaged at 0x/);
  });

  test("tells that its log is ahead", () => {
    expect(hiveOf(good).isBehind).toBe(false);
    const behind = Buffer.from(good);
    behind.writeUInt32LE(2, 4);
    expect(hiveOf(behind).isBehind).toBe(true);
  });

  test("leaves what is not damaged", () => {
    const bytes = Buffer.from(good);
    bytes[bytes.indexOf("vk")] = 0x78;
    const hive = hiveOf(bytes);
    const seen: string[] = [];
    const errors: string[] = [];
    hive.forSubkeys(
      hive.root,
      (each) => {
        [...hive.values(each)];
        seen.push(each.name);
      },
      (error) => errors.push(error.message),
    );
    expect(seen).toEqual(["c"]);
    expect(errors).toEqual([expect.stringMatching(/^the hive is damaged at 0x/)]);
  });

  test("does not lead in a circle", () => {
    const bytes = Buffer.from(good);
    // The root's list leads to the root: whoever goes down for ever is stopped.
    const cells = new Cells({ size: good.length, read: (at, length) => good.subarray(at, at + length) });
    const list = bytes.indexOf("lh");
    bytes.writeUInt32LE(cells.root, list + 4);
    const hive = hiveOf(bytes);
    let steps = 0;
    const down = (): void => {
      for (let at = hive.root; ; steps++) at = hive.subkeys(at).next().value!;
    };
    expect(down).toThrow("the hive has more cells than are looked at");
    expect(steps).toBeGreaterThan(1000);
  });

  test("ends in an error with a line, however it is damaged", () => {
    const random = randomNumbers(5);
    let damaged = 0;
    let whole = 0;
    for (let round = 0; round < 4000; round++) {
      const bytes = Buffer.from(good);
      for (let count = 1 + random(5); count > 0; count--) {
        const at = random(4) === 0 ? random(64) : 4096 + random(1200);
        bytes[at] = random(3) === 0 ? bytes[at]! ^ (1 << random(8)) : random(256);
      }
      try {
        walk(bytes.subarray(0, random(3) === 0 ? random(bytes.length) : bytes.length));
        whole++;
      } catch (error) {
        expect((error as Error).message).toMatch(/^(the hive|it is no|its registry|a value has|too many)/);
        damaged++;
      }
    }
    expect(damaged).toBeGreaterThan(1000);
    expect(whole).toBeGreaterThan(100);
  });

  /** Goes through all keys, but no deeper than a few. */
  function walk(bytes: Buffer): void {
    const hive = hiveOf(bytes);
    let keys = 0;
    const take = (from: typeof hive.root, depth: number): void => {
      if (++keys > 10_000) throw new Error("too many keys");
      for (const value of hive.values(from)) {
        textOf(value);
        numberOf(value);
      }
      if (depth < 5) for (const each of hive.subkeys(from)) take(each, depth + 1);
    };
    take(hive.root, 0);
  }
});

test("A file that is larger than what is read of it is read where it is asked for", () => {
  const path = join(folder, "li.hive");
  const bytes = readFileSync(path);
  let read = 0;
  const file = {
    size: bytes.length,
    read: (position: number, length: number) => {
      read += length;
      return bytes.subarray(position, position + length);
    },
  };
  const cells = new Cells(file);
  cells.typed(cells.root, "nk", 76, 100);
  expect(read).toBeLessThan(40_000);
  expect(bytes.length).toBeGreaterThan(200_000);
});

/** Numbers from 0 up to `limit`, the same in each run. */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}
