/** What a user writes to say where to listen: `unix:PATH`, `HOST:PORT`, `[::1]:PORT`, or a port of this host alone. */
import { resolve } from "node:path";
import type { Address } from "../capture/nbd/server.js";
import { UserError } from "./user-error.js";

/** Throws UserError. */
export function parseListenAddress(text: string): Address {
  if (text.startsWith("unix:") && text.length > 5) return { path: resolve(text.slice(5)) };
  const [, bracketed, plain, digits] = /^(?:(?:\[([^\]]+)\]|([^:[\]]*)):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535)
    throw new UserError(`${text}: write unix:PATH, HOST:PORT or [ADDRESS]:PORT to say where to listen`, 2);
  return { host: bracketed ?? (plain || "127.0.0.1"), port };
}

/** Whether only this host can connect. */
export function isLocal(address: Address): boolean {
  return "path" in address || /^(127\.|::1$|localhost$)/.test(address.host);
}

/** An NBD URL of an export there, as qemu, libnbd and nbdkit take it. */
export function nbdUrl(address: Address, name: string): string {
  const path = name.split("/").map(encodeURIComponent).join("/");
  if ("path" in address) return `nbd+unix:///${path}?socket=${encodeURI(address.path)}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `nbd://${host}:${address.port}/${path}`;
}
