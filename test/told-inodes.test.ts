/** Which files the nodes are of that the kernel has: never two of one node at a time. */
import { expect, test } from "vitest";
import { digest } from "../src/cloud/ids.js";
import { ToldInodes } from "../src/cloud/told-inodes.js";

/** Generations that have the same first digest. */
const FIRST = 0x1000;
const SECOND = 0x0001;
const THIRD = 0x3002;

/** The kernel is told of a file as it should be; returns the digest. */
function tell(told: ToldInodes, ino: number, generation: number): number {
  const of = told.digest(ino, generation);
  told.add(ino, of, generation);
  return of;
}

test("files of one inode with the same digest have different nodes for as long as the kernel has both", () => {
  expect([FIRST, SECOND, THIRD].map((generation) => digest(generation))).toEqual([1, 1, 1]);
  const told = new ToldInodes();
  expect(tell(told, 12, FIRST)).toBe(1);
  expect(told.isOf(12, 1, FIRST)).toBe(true);
  expect(told.isOf(12, 1, SECOND)).toBe(false);
  // Another file's inode, of which the kernel has no node: a handle of an NFS client.
  expect(told.isOf(13, 1, SECOND)).toBe(true);
  const second = tell(told, 12, SECOND);
  expect(second).toBe(digest(SECOND, 1));
  expect(told.isOf(12, second, SECOND)).toBe(true);
  expect(told.isOf(12, 1, FIRST)).toBe(true);
  expect(tell(told, 12, SECOND)).toBe(second);
  expect([...told.nodes(12)].map(({ digest: of }) => of).sort()).toEqual([1, second].sort());
  // Told twice, forgotten once, and then once more.
  told.forget(12, second, 1);
  expect(told.digest(12, SECOND)).toBe(second);
  told.forget(12, second, 1);
  expect(told.digest(12, SECOND)).toBe(digest(SECOND, 1));
  told.forget(12, 1, 1);
  expect(told.digest(12, SECOND)).toBe(1);
  expect([...told.nodes(12)]).toEqual([]);
  expect([...told]).toEqual([12]);
});

test("a file that is held open has its node to itself, however many files its inode is used for", () => {
  const told = new ToldInodes();
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const INODES = 3;
  /** What the kernel has: by node, the generation that it was told with, and how often. */
  const kernel = new Map<string, { ino: number; of: number; generation: number; times: number }>();
  let uncommon = 0;
  for (let n = 0; n < 20_000; n++) {
    const ino = 5000 + random(INODES);
    if (random(3) > 0) {
      // Ten digests, each of three generations.
      const which = random(3);
      const generation = (which << 12) | (random(10) ^ which);
      const of = told.digest(ino, generation);
      expect([0, 1, 2, 3].map((one) => digest(generation, one))).toContain(of);
      if (of !== digest(generation)) uncommon++;
      told.add(ino, of, generation);
      const key = `${ino} ${of}`;
      const has = kernel.get(key) ?? { ino, of, generation, times: 0 };
      expect(has.generation).toBe(generation);
      kernel.set(key, { ...has, times: has.times + 1 });
    } else {
      const [key, node] = [...kernel][random(kernel.size)] ?? [];
      if (key === undefined || node === undefined) continue;
      const times = random(3) === 0 ? 1 : node.times;
      told.forget(node.ino, node.of, times);
      if (times === node.times) kernel.delete(key);
      else kernel.set(key, { ...node, times: node.times - times });
    }
    if (kernel.size > 6) {
      for (const { ino: other, of, times } of kernel.values()) told.forget(other, of, times);
      kernel.clear();
    }
    if (n % 10 !== 0) continue;
    for (const { ino: other, of, generation } of kernel.values()) {
      expect(told.isOf(other, of, generation)).toBe(true);
      expect(told.isOf(other, of, generation + 1)).toBe(false);
    }
    const nodes = Array.from({ length: INODES }, (_, index) => [...told.nodes(5000 + index)].length);
    expect(nodes.reduce((sum, one) => sum + one, 0)).toBe(kernel.size);
  }
  expect(uncommon).toBeGreaterThan(500);
});
