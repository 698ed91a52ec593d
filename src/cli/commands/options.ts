/** Options that several commands have. */
import { type Command, Option } from "commander";
import { count } from "../count.js";
import { size } from "../size.js";

/** An option that may be given more than once. */
export const several = (text: string, before: string[] | undefined): string[] => [...(before ?? []), text];

/** The limits of the queue that guests' writes wait in. */
export const queued = (command: Command): Command =>
  command
    .option("--flush-timeout <ms>", "how long a write waits for others until it is worked on", count(0), 20)
    .option("--size-limit <size>", "bytes of writes that wait: 64M, 1G", size, 262_144_000)
    .option("--outstanding-writes <count>", "writes that wait", count(2), 16_384)
    .addOption(
      new Option("--under-pressure <policy>", "what gives way then: writes are lost, or the guest waits")
        .choices(["data-drop", "block"])
        .default("data-drop"),
    );

/** Which daemon is meant. */
export const mountOptions = (command: Command): Command =>
  command
    .option("--mount <dir>", "where the tree is mounted", "/cloud")
    .option("--state <dir>", "the daemon's state directory, if it was named");
