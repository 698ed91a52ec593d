/** The configuration: all keys there are, and what they take. */
import { z } from "zod";
import { ownershipSettings, policySettings } from "../../cloud/policy/settings.js";
import { parseAddress } from "../../events/redis/address.js";
import { exportsSettings } from "../../exports/settings.js";
import { patternProblem } from "../discovery/image-pattern.js";
import { libvirtSettings } from "../discovery/libvirt-settings.js";
import { GUEST_CAPTURES } from "../guest-capture.js";
import {
  absolutePath,
  choice,
  count,
  dataSize,
  flag,
  hostName,
  image,
  listenAddress,
  metricsListenAddress,
  oneOrMore,
  size,
  text,
  treeName,
} from "./values.js";

/** One of `guests:`, or a file of guests.d. */
export const guestSettings = z
  .strictObject({
    name: treeName,
    /** Its disks, the first one sda; what is shown while QEMU is not attached to. */
    disks: oneOrMore(image, "expected an image, or a list of images").optional(),
    /** The monitor of its QEMU. */
    qmp: absolutePath.optional(),
    /** With `qmp`: nodes, drives or devices; all where it is left out. */
    nodes: oneOrMore(text("a node, a drive or a device"), "expected a list of nodes").optional(),
    /** With `qmp`: how its writes are known; mirror where it is left out. */
    capture: choice(...GUEST_CAPTURES).optional(),
  })
  .superRefine(({ disks, qmp, nodes, capture }, context) => {
    if (disks === undefined && qmp === undefined)
      context.addIssue({
        code: "custom",
        message: "expected disks (images) or qmp (the monitor of its QEMU)",
      });
    if (nodes !== undefined && qmp === undefined)
      context.addIssue({ code: "custom", path: ["nodes"], message: "expected qmp, too: nodes are QEMU's" });
    if (capture !== undefined && qmp === undefined)
      context.addIssue({
        code: "custom",
        path: ["capture"],
        message: "expected qmp, too: what is not attached to is watched",
      });
  });

const imagePattern = z.strictObject({
  pattern: text("a pattern of paths, such as /srv/vm/*.img").superRefine((pattern, context) => {
    const problem = patternProblem(pattern);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  }),
  name: text("a name, in which $1 is what the first * stands for").optional(),
});

const discoverSettings = z.strictObject({
  libvirt: libvirtSettings.optional(),
  images: z.array(imagePattern, "expected a list of patterns").default([]),
  interval: z
    .number("expected seconds, 1 or more")
    .min(1, "expected seconds, 1 or more")
    .max(86_400, "expected seconds, at most a day")
    .default(10),
});

/** Of slashcloud.yaml. What is left out is as the command line has it, or as is usual. */
export const settings = z
  .strictObject({
    mount: absolutePath.optional(),
    host: hostName.optional(),
    state: absolutePath.optional(),
    driver: choice("auto", "kernel", "libfuse").optional(),
    listEvents: flag.optional(),
    ignoreCase: flag.optional(),
    events: z
      .strictObject({ enabled: flag.optional(), size: size.optional(), list: flag.optional() })
      .prefault({}),
    redis: z
      .strictObject({
        url: text("the address of a Redis, such as redis://HOST:PORT").superRefine((url, context) => {
          try {
            parseAddress(url);
          } catch (error) {
            context.addIssue({ code: "custom", message: (error as Error).message });
          }
        }),
        stream: count(1).optional(),
        data: dataSize.optional(),
      })
      .optional(),
    capture: z
      .strictObject({
        tap: oneOrMore(listenAddress, "expected a list of unix:PATH, HOST:PORT, or ports").optional(),
        flushTimeout: count(0).optional(),
        sizeLimit: size.optional(),
        outstandingWrites: count(2).optional(),
        underPressure: choice("data-drop", "block").optional(),
        unknownLife: count(1).optional(),
      })
      .prefault({}),
    metrics: z.strictObject({ listen: metricsListenAddress }).optional(),
    log: z.strictObject({ format: choice("text", "journal", "json").optional() }).prefault({}),
    discover: discoverSettings.prefault({}),
    policy: policySettings.optional(),
    ownership: ownershipSettings.optional(),
    exports: exportsSettings.optional(),
    guests: z.array(guestSettings, "expected a list of guests").default([]),
  })
  .superRefine(({ events, redis }, context) => {
    if (redis !== undefined && events.enabled === false)
      context.addIssue({
        code: "custom",
        path: ["redis"],
        message: "expected events, which events.enabled turns off",
      });
  });

export type Settings = z.output<typeof settings>;
export type GuestSettings = z.output<typeof guestSettings>;
