/** Settings under `discover.libvirt:` in the configuration file. `libvirt: {}` is enough. */
import { z } from "zod";
import { GUEST_CAPTURES } from "../guest-capture.js";

export const libvirtSettings = z.strictObject({
  /** The connection, as `virsh -c` takes it. */
  uri: z
    .string()
    .regex(/^[^\s\p{Cc}-][^\s\p{Cc}]*$/u, "a URI as virsh -c takes it, such as qemu:///system")
    .default("qemu:///system"),
  /**
   * Which running domains are attached to, by a second monitor of theirs. `auto`: those with a disk that can be read in no
   * other way (a qcow2, Ceph); `always`: all that have such a monitor, so that each of their writes is known; `never`.
   */
  attach: z.enum(["auto", "always", "never"]).default("auto"),
  /** How the writes of those are known: each is mirrored, or their disks are looked at. */
  capture: z.enum(GUEST_CAPTURES).default("mirror"),
});

export type LibvirtSettings = z.infer<typeof libvirtSettings>;
