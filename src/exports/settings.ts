/**
 * Settings under `exports:` in the configuration file: who may read the tree from other machines, and how. All text that
 * reaches the configuration of another server is checked here, so that no value can add a line or a parameter to it.
 */

import { z } from "zod";

/** A share's name as Samba takes it; the names of its own special sections are refused. */
export const shareName = z
  .string()
  .regex(
    /^[^[\]/\\:|<>+=;,*?"%#\p{Cc}]{1,80}$/u,
    "a share's name: up to 80 characters, none of [ ] / \\ : | < > + = ; , * ? \" % #",
  )
  .refine((name) => name.trim() === name, "a share's name has no blanks around it")
  .refine((name) => !/^(global|homes|printers|print\$|ipc\$)$/i.test(name), "Samba has this name for itself");

/** A user, or `@group`. */
const user = z.string().regex(/^[@+&]?[^\s,;"'%=\p{Cc}]+$/u, "a user's name, or @ and a group's");

/** An address, a network (192.0.2.0/24), a name (also with a leading dot or *), or @ and a netgroup. */
const client = z
  .string()
  .regex(
    /^[@A-Za-z0-9_.:*?/-]+$/,
    "an address, a network such as 192.0.2.0/24, a host's name, or @ and a netgroup",
  );

const path = z.string().regex(/^\/[^\p{Cc}"\\%]*$/u, 'an absolute path, without " \\ %');

/** Why something is done that gives away more than usual; it is written into the file as a comment. */
const reason = z.string().regex(/^\P{Cc}*\S\P{Cc}*$/u, "the reason, one line");

const port = z.int().min(1).max(65_535);

/** One share, or a share for each guest. What is left out is taken from `samba` itself. */
const shareSettings = z.strictObject({
  /** `tree`: all of it; `host`: this host's directory; `guests`: a share for each guest. */
  of: z.enum(["tree", "host", "guests"]).default("tree"),
  /** The share's name. Default: the mount point's last part, the host's name, or each guest's name. Not with `guests`. */
  name: shareName.optional(),
  /** With `guests`: only these. Default: those of the configuration, and those in the tree if it is mounted. */
  guests: z.array(z.string()).optional(),
  /** Who may connect: users whom Samba knows, and `@groups`. */
  users: z.array(user).optional(),
  /** Anyone may connect, without a password, as Samba's guest account. Only for the machines of `hostsAllow`. */
  guestOk: z.boolean().optional(),
  /** Machines that may connect. Empty: all, if they have a user and a password. */
  hostsAllow: z.array(client).optional(),
  /** Whether the server lists the share to those who ask for its shares. */
  browseable: z.boolean().optional(),
});

/** Samba: SMB 2.1 and later, read-only. */
const sambaSettings = z.strictObject({
  shares: z
    .array(shareSettings)
    .min(1)
    .default([{ of: "tree" }]),
  users: z.array(user).default([]),
  guestOk: z.boolean().default(false),
  hostsAllow: z.array(client).default([]),
  browseable: z.boolean().default(true),
  /**
   * Whether the server follows links, which then look like what they point to. A client's recursive copy then meets some
   * files twice, and follows a link to a directory above it until paths become too long. Without, links are not shown.
   */
  followLinks: z.boolean().default(true),
  /**
   * Whether a name is looked up only as it is written. Otherwise Samba reads the whole directory for one that is not there.
   * But then files with names that Windows cannot have, which are listed by short ones, cannot be opened.
   */
  exactCase: z.boolean().default(false),
  /**
   * Reads all files as root, whoever is connected, for this reason. Without it a user reads what the modes in the guest
   * let that user's number on this host read, and a guest's files of mode 0600 that are root's cannot be read.
   */
  asRoot: reason.optional(),
  /** Also the settings that hold for the server's other shares (no leases, SMB 2.1 at least). */
  global: z.boolean().default(true),
});

/** NFS: the kernel's server, or NFS-Ganesha (version 4 only). */
const nfsSettings = z.strictObject({
  /** Machines that may mount the tree. Nobody may, by default. */
  clients: z.array(client).default([]),
  /** Whose requests are made those of the anonymous user: `all`, those of `root`, or `none`: clients are believed. */
  squash: z.enum(["all", "root", "none"]).default("all"),
  /** User and group of the anonymous user. */
  anonymousUid: z.int().min(0).max(0xffff_fffe).default(65_534),
  anonymousGid: z.int().min(0).max(0xffff_fffe).default(65_534),
  /** Reads all files as root, whoever asks, for this reason: `squash: all` with the anonymous user 0. */
  asRoot: reason.optional(),
  /** Identifies the file system to clients; no two exports of a server may have the same. Default: from the mount point. */
  fsid: z.int().min(1).max(0x7fff_ffff).optional(),
  /** Whether clients may ask from ports above 1023 (what is no root's program, or sits behind NAT, does). */
  anyPort: z.boolean().default(true),
  /** NFS-Ganesha: where it listens. */
  address: z.union([z.ipv4(), z.ipv6()]).default("0.0.0.0"),
  port: port.default(2049),
});

/** A tree that a client mounts. */
const serverSettings = z.strictObject({
  /** The host's name in its tree: the directory's name on the client, too. */
  host: z.string().regex(/^[^\s/"\\*&#\p{Cc}]+$/u, "a host's name in its tree"),
  /** The server's address or name. Default: `host`. */
  address: client.optional(),
  /** Where its tree is mounted there. Default: this one's mount point. */
  mount: path.optional(),
});

/** The automounter of machines that mount the tree. */
const autofsSettings = z.strictObject({
  protocol: z.enum(["nfs4", "cifs"]).default("nfs4"),
  /** The directory on the client below which each server's host appears. */
  directory: path.default("/cloud"),
  /** Servers. Default: this one. */
  servers: z.array(serverSettings).default([]),
  /** The server's port, if it is not the protocol's own. */
  port: port.optional(),
  /** cifs: the share of the whole tree. Default: the mount point's last part. */
  share: shareName.optional(),
  /** cifs: the file with the user's name and password (mode 0600). Without it: as a guest, without a password. */
  credentials: path.optional(),
  /** Seconds for which a client may keep attributes and names. 0: each look asks the server, and is current. */
  keep: z.number().min(0).max(3600).default(0),
  /** Seconds without use after which a client unmounts. */
  timeout: z.int().min(1).max(86_400).default(300),
});

/** All of `exports:`. */
export const exportsSettings = z.strictObject({
  samba: sambaSettings.prefault({}),
  nfs: nfsSettings.prefault({}),
  autofs: autofsSettings.prefault({}),
});

export type ExportsSettings = z.output<typeof exportsSettings>;
export type SambaSettings = ExportsSettings["samba"];
export type ShareSettings = SambaSettings["shares"][number];
export type NfsSettings = ExportsSettings["nfs"];
export type AutofsSettings = ExportsSettings["autofs"];
/** All of `exports:` as it is written, with what has a default left out. */
export type ExportsInput = z.input<typeof exportsSettings>;
